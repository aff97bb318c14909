{{- define "driver.notes" -}}
{{- if .Values.cleanup }}
The driver leaves the nodes. Once every pod is ready, nothing of it is left there:

  kubectl -n {{ .Release.Namespace }} rollout status daemonset/{{ include "driver.name" . }}
  helm -n {{ .Release.Namespace }} uninstall {{ .Release.Name }}

A pod that does not get ready says why:

  kubectl -n {{ .Release.Namespace }} logs daemonset/{{ include "driver.name" . }} -c cleanup

If claims have devices there, bring the driver back with `--set cleanup=false`, and delete the pods that use them.
{{- else }}
The DRA driver {{ .Chart.Annotations.driver }} {{ .Chart.AppVersion }}{{ if .Values.simulatedDevices.enabled }}, with simulated {{ include "driver.own" (list . "devices") }} ({{ .Values.simulatedDevices.profile }}){{ end }}.

What it offers:

  kubectl get resourceslices
  kubectl get deviceclasses

What it says:

  kubectl -n {{ .Release.Namespace }} logs daemonset/{{ include "driver.name" . }}

To remove it with all that it keeps on the nodes:

  helm -n {{ .Release.Namespace }} upgrade {{ .Release.Name }} CHART --reuse-values --set cleanup=true --wait
  helm -n {{ .Release.Namespace }} uninstall {{ .Release.Name }}
{{- end }}
{{- end }}
