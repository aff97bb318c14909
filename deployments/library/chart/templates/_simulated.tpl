{{- define "driver.simulated" -}}
{{- if and .Values.simulatedDevices.enabled (not .Values.cleanup) }}
# Hardware outlives its driver: the simulated machine has pods of its own, so that it stays as it is while the driver is
# upgraded and two of its instances run side by side. For the same reason it is replaced only with a pod that is deleted.
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: {{ include "driver.name" . }}-simulated
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "driver.labels" . | nindent 4 }}
spec:
  selector:
    matchLabels:
      {{- include "driver.selector" . | nindent 6 }}
      app.kubernetes.io/component: simulated-machine
  updateStrategy:
    type: OnDelete
  template:
    metadata:
      labels:
        {{- include "driver.labels" . | nindent 8 }}
        app.kubernetes.io/component: simulated-machine
    spec:
      automountServiceAccountToken: false
      # Nothing is looked up by name; the driver must not need the cluster DNS.
      dnsPolicy: Default
      {{- include "driver.scheduling" . | nindent 6 }}
      containers:
        - name: kernel
          image: {{ include "driver.image" . }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          args:
            - simulate
            - --profile={{ .Values.simulatedDevices.profile }}
            - --root={{ include "driver.machine" . }}
            - --device-nodes
          securityContext:
            {{- include "driver.securityContext" . | replace "drop: [ALL]" "drop: [ALL]\n  add: [MKNOD]" | nindent 12 }}
          volumeMounts:
            - name: plugins
              mountPath: {{ .Values.host.kubeletDir }}/plugins
      volumes:
        - name: plugins
          hostPath:
            path: {{ .Values.host.kubeletDir }}/plugins
            type: Directory
{{- end }}
{{- end }}
