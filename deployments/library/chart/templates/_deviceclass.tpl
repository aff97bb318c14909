{{/* The class that has the driver's name: of all devices that a claim may have without further ado. */}}
{{- define "driver.deviceClass" -}}
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata:
  name: {{ .Chart.Annotations.driver }}
  labels:
    {{- include "driver.labels" . | nindent 4 }}
spec:
  selectors:
    - cel:
        expression: '{{ include "driver.own" (list . "selector") }}'
  {{- if .Values.enableDRAExtendedResources }}
  extendedResourceName: {{ .Values.extendedResourceName }}
  {{- end }}
{{- end }}
