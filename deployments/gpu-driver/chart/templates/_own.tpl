{{/* What is the GPU driver's own in the templates of the library. */}}
{{- define "gpu.intel.com.devices" -}}
GPUs
{{- end }}

{{- define "gpu.intel.com.configKind" -}}
GpuDriverConfig
{{- end }}

{{- define "gpu.intel.com.selector" -}}
device.driver == "gpu.intel.com" && !("mode" in device.attributes["gpu.intel.com"])
{{- end }}

{{/* Unless kernel drivers are changed on any node: only then may the driver write to the host's sysfs. */}}
{{- define "gpu.intel.com.sysfsReadOnly" -}}
{{- $manages := dig "manageBinding" true .Values.config -}}
{{- range dig "nodes" list .Values.config }}{{ $manages = or $manages (dig "manageBinding" false .) }}{{ end -}}
{{- not $manages -}}
{{- end }}

{{- define "gpu.intel.com.health" -}}
{{- with .Values.health.xpumdSocket -}}
- name: XPUMD_SOCKET
  value: {{ . }}
{{- end }}
{{- end }}

{{- define "gpu.intel.com.withoutHealth" -}}
{{- end }}

{{/* Whoever is to be listened to if nobody is named; empty = all. */}}
{{- define "gpu.intel.com.healthSources" -}}
{{- if not .Values.health.xpumdSocket }}
{{- empty .Values.health.file | ternary "sysfs" "sysfs,file" }}
{{- end }}
{{- end }}

{{- define "gpu.intel.com.healthFolders" -}}
{{- with .Values.health.xpumdSocket -}}
xpumd: {{ dir . }}
{{- end }}
{{- end }}

{{- define "gpu.intel.com.variables" -}}
{{- end }}

{{- define "gpu.intel.com.mounts" -}}
{{- end }}

{{- define "gpu.intel.com.volumes" -}}
{{- end }}

{{- define "gpu.intel.com.rules" -}}
{{- end }}
