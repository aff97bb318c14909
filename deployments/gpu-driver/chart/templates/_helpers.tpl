{{/* The name of everything that has no fixed one: the release's, with the chart's unless it is part of it. */}}
{{- define "driver.name" -}}
{{- $name := contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) -}}
{{- $name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{/* Cluster-scoped objects of two releases of the same name, in two namespaces, must not meet. */}}
{{- define "driver.clusterName" -}}
{{ printf "%s-%s" .Release.Namespace (include "driver.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "driver.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "driver.name" .) }}
{{- end }}

{{- define "driver.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* What selects pods; a DaemonSet's may never change. */}}
{{- define "driver.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "driver.labels" -}}
{{ include "driver.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/*
The simulated machine of a node. It is inside the kubelet's folder of plugins, which every pod of the chart sees at the
path that it has on the node: the container runtime gets device nodes by their paths there.
*/}}
{{- define "driver.machine" -}}
{{ .Values.host.kubeletDir }}/plugins/gpu.intel.com-simulated
{{- end }}

{{/* Root, since the folders of kubelet and runtime are root's; beyond that no right that a user would not have. */}}
{{- define "driver.securityContext" -}}
runAsUser: 0
runAsGroup: 0
privileged: false
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* "true" if kernel drivers are changed on any node: only then may the driver write to the host's sysfs. */}}
{{- define "driver.managesBinding" -}}
{{- $manages := dig "manageBinding" true .Values.config -}}
{{- range dig "nodes" list .Values.config }}{{ $manages = or $manages (dig "manageBinding" false .) }}{{ end -}}
{{- $manages -}}
{{- end }}

{{- define "driver.scheduling" -}}
nodeSelector:
  kubernetes.io/os: linux
  {{- with .Values.kubeletPlugin.nodeSelector }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.kubeletPlugin.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.kubeletPlugin.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.kubeletPlugin.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Where things are, as `run` and `cleanup` are told: the same paths in the container as on the node. */}}
{{- define "driver.places" -}}
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: KUBELET_PLUGINS_DIR
  value: {{ .Values.host.kubeletDir }}/plugins
- name: KUBELET_REGISTRY_DIR
  value: {{ .Values.host.kubeletDir }}/plugins_registry
- name: CDI_ROOT
  value: {{ .Values.cdi.staticPath | default "/etc/cdi" }}
- name: CDI_DYNAMIC_ROOT
  value: {{ .Values.cdi.dynamicPath }}
{{- if .Values.simulatedDevices.enabled }}
- name: SIMULATED_ROOT
  value: {{ include "driver.machine" . }}
{{- end }}
{{- end }}

{{- define "driver.mounts" -}}
- name: plugins
  mountPath: {{ .Values.host.kubeletDir }}/plugins
- name: registry
  mountPath: {{ .Values.host.kubeletDir }}/plugins_registry
- name: cdi
  mountPath: {{ .Values.cdi.dynamicPath }}
{{- with .Values.cdi.staticPath }}
- name: cdi-static
  mountPath: {{ . }}
{{- end }}
{{- end }}

{{- define "driver.volumes" -}}
- name: plugins
  hostPath:
    path: {{ .Values.host.kubeletDir }}/plugins
    type: Directory
- name: registry
  hostPath:
    path: {{ .Values.host.kubeletDir }}/plugins_registry
    type: Directory
- name: cdi
  hostPath:
    path: {{ .Values.cdi.dynamicPath }}
    type: DirectoryOrCreate
{{- with .Values.cdi.staticPath }}
- name: cdi-static
  hostPath:
    path: {{ . }}
    type: DirectoryOrCreate
{{- end }}
{{- end }}

{{/* Who watches the health of GPUs, as the driver's variables. */}}
{{- define "driver.health" -}}
- name: HEALTH_MONITORING
  value: "true"
- name: HEALTH_MONITORING_OPTIONAL
  value: {{ .Values.health.optional | quote }}
- name: IGNORE_HEALTH_WARNING
  value: {{ .Values.health.ignoreWarnings | quote }}
- name: HEALTH_TAINT
  value: {{ .Values.health.taint }}
{{- with .Values.health.xpumdSocket }}
- name: XPUMD_SOCKET
  value: {{ . }}
{{- end }}
{{- with .Values.health.file }}
- name: HEALTH_FILE
  value: {{ . }}
{{- end }}
{{- if .Values.health.sources }}
- name: HEALTH_SOURCES
  value: {{ join "," .Values.health.sources }}
{{- else if not .Values.health.xpumdSocket }}
- name: HEALTH_SOURCES
  value: {{ empty .Values.health.file | ternary "sysfs" "sysfs,file" }}
{{- end }}
{{- end }}

{{/* Folders of the node that sources of health need, by the names of their volumes; one if both are in the same. */}}
{{- define "driver.healthFolders" -}}
{{- if .Values.health.enabled }}
{{- with .Values.health.xpumdSocket }}
xpumd: {{ dir . }}
{{- end }}
{{- with .Values.health.file }}
{{- if ne (dir .) (dir $.Values.health.xpumdSocket) }}
health-file: {{ dir . }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
