{{- define "driver.cleanup" -}}
{{- if .Values.cleanup }}
{{- /*
Before any driver is stopped: only a driver can take devices back. Nodes look again, since a claim may come meanwhile.
`lookup` finds nothing where there is no cluster, as with `helm template`.
*/}}
{{- $driver := .Chart.Annotations.driver }}
{{- $held := list }}
{{- range (lookup "resource.k8s.io/v1" "ResourceClaim" "" "").items }}
  {{- $claim := . }}
  {{- range dig "status" "allocation" "devices" "results" (list) . }}
    {{- if eq .driver $driver }}
      {{- $held = append $held (printf "%s/%s" $claim.metadata.namespace $claim.metadata.name) }}
    {{- end }}
  {{- end }}
{{- end }}
{{- with uniq $held }}
  {{- $names := join ", " (slice . 0 (min 10 (len .))) }}
  {{- $more := gt (len .) 10 | ternary (printf " and %d more" (sub (len .) 10)) "" }}
  {{- $have := eq (len .) 1 | ternary "ResourceClaim has" "ResourceClaims have" }}
  {{- fail (printf "\n\ncleanup: %d %s devices of %s: %s%s.\nDelete the pods that use them first. Nothing was changed.\n" (len .) $have $driver $names $more) }}
{{- end }}
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
      # The driver's pods go first, on all nodes at once: nothing can be removed under a running driver.
      maxSurge: 0
      maxUnavailable: 100%
  template:
    metadata:
      labels:
        {{- include "driver.labels" . | nindent 8 }}
        app.kubernetes.io/component: kubelet-plugin
    spec:
      serviceAccountName: {{ include "driver.serviceAccount" . }}
      automountServiceAccountToken: true
      # Nothing is looked up by name; the driver must not need the cluster DNS.
      dnsPolicy: Default
      {{- include "driver.scheduling" . | nindent 6 }}
      terminationGracePeriodSeconds: 5
      initContainers:
        - name: cleanup
          image: {{ include "driver.image" . }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          args: [cleanup]
          env:
            {{- include "driver.places" . | nindent 12 }}
          securityContext:
            {{- include "driver.securityContext" . | nindent 12 }}
          volumeMounts:
            {{- include "driver.mounts" . | nindent 12 }}
      containers:
        # A DaemonSet's pod must go on: its being ready says that the node is clean.
        - name: done
          image: {{ include "driver.image" . }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          command:
            - python3
            - -c
            - "import signal as s; s.pthread_sigmask(s.SIG_BLOCK, {s.SIGTERM}); s.sigwait({s.SIGTERM})"
          securityContext:
            {{- include "driver.securityContext" . | nindent 12 }}
      volumes:
        {{- include "driver.volumes" . | nindent 8 }}
{{- end }}
{{- end }}
