{{/* Who watches the health of devices, as the driver's variables. */}}
{{- define "driver.health" -}}
{{- if .Values.health.enabled -}}
- name: HEALTH_MONITORING
  value: "true"
- name: HEALTH_MONITORING_OPTIONAL
  value: {{ .Values.health.optional | quote }}
- name: IGNORE_HEALTH_WARNING
  value: {{ .Values.health.ignoreWarnings | quote }}
- name: HEALTH_TAINT
  value: {{ .Values.health.taint }}
{{- with include "driver.own" (list . "health") }}
{{ . }}
{{- end }}
{{- with .Values.health.file }}
- name: HEALTH_FILE
  value: {{ . }}
{{- end }}
{{- with .Values.health.sources | default (include "driver.own" (list . "healthSources") | splitList "," | compact) }}
- name: HEALTH_SOURCES
  value: {{ join "," . }}
{{- end }}
{{- else }}
{{- include "driver.own" (list . "withoutHealth") }}
{{- end }}
{{- end }}

{{/* Folders of the node that sources of health need, by the names of their volumes; one if several are in the same. */}}
{{- define "driver.healthFolders" -}}
{{- if .Values.health.enabled }}
{{- $folders := include "driver.own" (list . "healthFolders") | fromYaml }}
{{- with .Values.health.file }}
{{- if not (has (dir .) (values $folders)) }}
{{- $_ := set $folders "health-file" (dir .) }}
{{- end }}
{{- end }}
{{- toYaml $folders }}
{{- end }}
{{- end }}
