{{- define "driver.config" -}}
{{- /* Changed in place: the kubelet brings it to the pods, and the driver reads it again. */}}
{{- if .Values.config }}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "driver.name" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "driver.labels" . | nindent 4 }}
data:
  config.yaml: |
    {{- merge (dict "apiVersion" (printf "config.%s/v1alpha1" .Chart.Annotations.driver) "kind" (include "driver.own" (list . "configKind"))) .Values.config | toYaml | nindent 4 }}
{{- end }}
{{- end }}
