{{- define "driver.daemonset" -}}
{{- if not .Values.cleanup }}
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: {{ include "driver.name" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "driver.labels" . | nindent 4 }}
spec:
  selector:
    matchLabels:
      {{- include "driver.selector" . | nindent 6 }}
      app.kubernetes.io/component: kubelet-plugin
  updateStrategy:
    type: RollingUpdate
    rollingUpdate:
      # The new pod serves before the old one ends; POD_UID gives each its own sockets.
      maxSurge: 1
      maxUnavailable: 0
  template:
    metadata:
      labels:
        {{- include "driver.labels" . | nindent 8 }}
        app.kubernetes.io/component: kubelet-plugin
      annotations:
        kubectl.kubernetes.io/default-container: kubelet-plugin
        {{- with .Values.kubeletPlugin.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "driver.serviceAccount" . }}
      automountServiceAccountToken: true
      # Nothing is looked up by name; the driver must not need the cluster DNS.
      dnsPolicy: Default
      {{- include "driver.scheduling" . | nindent 6 }}
      containers:
        - name: kubelet-plugin
          image: {{ include "driver.image" . }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          args: [run]
          env:
            - name: POD_UID
              valueFrom:
                fieldRef:
                  fieldPath: metadata.uid
            {{- include "driver.places" . | nindent 12 }}
            {{- if not .Values.simulatedDevices.enabled }}
            - name: SYSFS_ROOT
              value: /host/sys
            - name: DEVFS_ROOT
              value: /host/dev
            - name: CDI_DEVFS_ROOT
              value: {{ .Values.host.devfs }}
            {{- end }}
            - name: HEALTHCHECK_PORT
              value: {{ .Values.kubeletPlugin.healthcheckPort | quote }}
            {{- if .Values.metrics.enabled }}
            - name: HTTP_ENDPOINT
              value: ":{{ .Values.metrics.port }}"
            {{- end }}
            {{- with include "driver.health" . }}
            {{- . | nindent 12 }}
            {{- end }}
            {{- with include "driver.own" (list . "variables") | trim }}
            {{- . | nindent 12 }}
            {{- end }}
            {{- with .Values.serverFeaturesOff }}
            - name: SERVER_FEATURES_OFF
              value: {{ join "," . }}
            {{- end }}
            {{- if .Values.config }}
            - name: CONFIG
              value: /etc/{{ .Chart.Name }}/config.yaml
            {{- end }}
            {{- if .Values.claimStatus }}
            - name: CLAIM_STATUS
              value: "true"
            {{- end }}
            - name: LOGGING_FORMAT
              value: {{ .Values.logging.format }}
            - name: V
              value: {{ .Values.logging.verbosity | quote }}
          ports:
            - name: health
              containerPort: {{ .Values.kubeletPlugin.healthcheckPort }}
            {{- if .Values.metrics.enabled }}
            - name: metrics
              containerPort: {{ .Values.metrics.port }}
            {{- end }}
          # It lives as soon as it listens; a slow machine has a minute for that.
          startupProbe:
            grpc:
              port: {{ .Values.kubeletPlugin.healthcheckPort }}
              service: liveness
            periodSeconds: 1
            timeoutSeconds: 5
            failureThreshold: 60
          livenessProbe:
            grpc:
              port: {{ .Values.kubeletPlugin.healthcheckPort }}
              service: liveness
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 3
          # Ready: claims are recovered and the kubelet has registered this instance.
          readinessProbe:
            grpc:
              port: {{ .Values.kubeletPlugin.healthcheckPort }}
            periodSeconds: 2
            timeoutSeconds: 5
          {{- with .Values.kubeletPlugin.resources }}
          resources:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          securityContext:
            {{- if .Values.kubeletPlugin.privileged }}
            runAsUser: 0
            privileged: true
            readOnlyRootFilesystem: true
            {{- else }}
            {{- include "driver.securityContext" . | nindent 12 }}
            {{- end }}
          volumeMounts:
            {{- include "driver.mounts" . | nindent 12 }}
            {{- range $name, $path := include "driver.healthFolders" . | fromYaml }}
            # The folder, not the file: what is mounted alone stays as it was when the node makes it anew.
            - name: {{ $name }}
              mountPath: {{ $path }}
              readOnly: true
            {{- end }}
            {{- if .Values.config }}
            # The folder, not the file: a file that is mounted alone stays as it was.
            - name: config
              mountPath: /etc/{{ .Chart.Name }}
              readOnly: true
            {{- end }}
            {{- if .Values.simulatedDevices.enabled }}
            # Never opened: no container starts before its simulated machine runs.
            - name: simulated-kernel
              mountPath: /run/simulated-kernel.sock
              readOnly: true
            {{- else }}
            - name: sysfs
              mountPath: /host/sys
              readOnly: {{ include "driver.own" (list . "sysfsReadOnly") }}
            - name: devfs
              mountPath: /host/dev
              readOnly: true
            {{- with include "driver.own" (list . "mounts") }}
            {{- . | nindent 12 }}
            {{- end }}
            {{- end }}
      volumes:
        {{- include "driver.volumes" . | nindent 8 }}
        {{- range $name, $path := include "driver.healthFolders" . | fromYaml }}
        - name: {{ $name }}
          hostPath:
            path: {{ $path }}
            type: DirectoryOrCreate
        {{- end }}
        {{- if .Values.config }}
        - name: config
          configMap:
            name: {{ include "driver.name" . }}
        {{- end }}
        {{- if .Values.simulatedDevices.enabled }}
        - name: simulated-kernel
          hostPath:
            path: {{ include "driver.machine" . }}/control.sock
            type: Socket
        {{- else }}
        - name: sysfs
          hostPath:
            path: {{ .Values.host.sysfs }}
            type: Directory
        - name: devfs
          hostPath:
            path: {{ .Values.host.devfs }}
            type: Directory
        {{- with include "driver.own" (list . "volumes") }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- end }}
{{- end }}
{{- end }}
