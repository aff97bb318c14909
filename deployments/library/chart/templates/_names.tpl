{{/*
What is the driver's own, from the template `<driver>.<name>` of its chart. By its name since all charts of a release
share their templates, and it might have two drivers.
*/}}
{{- define "driver.own" -}}
{{- $chart := index . 0 -}}
{{ include (printf "%s.%s" $chart.Chart.Annotations.driver (index . 1)) $chart }}
{{- end }}

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
{{ .Values.host.kubeletDir }}/plugins/{{ .Chart.Annotations.driver }}-simulated
{{- end }}
