{{/* What is the Gaudi driver's own in the templates of the library. */}}
{{- define "gaudi.intel.com.devices" -}}
Gaudi accelerators
{{- end }}

{{- define "gaudi.intel.com.configKind" -}}
GaudiDriverConfig
{{- end }}

{{- define "gaudi.intel.com.selector" -}}
device.driver == "gaudi.intel.com"
{{- end }}

{{/* The driver changes no hardware. */}}
{{- define "gaudi.intel.com.sysfsReadOnly" -}}
true
{{- end }}

{{/* A variable wins over the configuration file: what that says, for all nodes or for some, is left to it. */}}
{{- define "gaudi.intel.com.health" -}}
{{- if not (contains "healthInterval" (toJson .Values.config)) -}}
- name: HEALTH_INTERVAL
  value: {{ .Values.health.interval | quote }}
{{- end }}
{{- end }}

{{/* The driver watches by itself unless it is told not to. */}}
{{- define "gaudi.intel.com.withoutHealth" -}}
- name: HEALTH_MONITORING
  value: "false"
{{- end }}

{{/* Whoever is to be listened to if nobody is named; empty = all. A simulated HLML needs no right. */}}
{{- define "gaudi.intel.com.healthSources" -}}
{{- if not (or .Values.kubeletPlugin.privileged .Values.simulatedDevices.enabled) }}
{{- empty .Values.health.file | ternary "sysfs" "sysfs,file" }}
{{- end }}
{{- end }}

{{- define "gaudi.intel.com.healthFolders" -}}
{{- end }}

{{/* Where the hook is if nobody says it: nothing for it is on a node without accelerators. */}}
{{- define "gaudi.intel.com.hook" -}}
{{- if contains "gaudiHookPath" (toJson .Values.config) }}
{{- else if .Values.simulatedDevices.enabled }}/bin/true
{{- else if .Values.openshift.enabled }}/usr/local/habana/bin/habana-container-hook
{{- end }}
{{- end }}

{{- define "gaudi.intel.com.variables" -}}
{{- with .Values.gaudiHookPath | default (include "gaudi.intel.com.hook" .) }}
- name: GAUDI_HOOK_PATH
  value: {{ . }}
{{- end }}
{{- if .Values.removeOldTaintRules }}
- name: REMOVE_OLD_TAINT_RULES
  value: "true"
{{- end }}
{{- end }}

{{/* Where the file is that tells containers about network ports. */}}
{{- define "gaudi.intel.com.networkFolder" -}}
{{ dig "networkFile" "/etc/habanalabs/gaudinet.json" .Values.config | dir }}
{{- end }}

{{/* The node's folder with HLML, if that is used: where it can open accelerators, or where somebody asks for it. */}}
{{- define "gaudi.intel.com.hlmlFolder" -}}
{{- $can := and .Values.kubeletPlugin.privileged (empty .Values.health.sources) }}
{{- if and .Values.health.enabled (or $can (has "hlml" .Values.health.sources)) }}
{{- .Values.health.hlmlFolder }}
{{- end }}
{{- end }}

{{- define "gaudi.intel.com.mounts" -}}
# The driver only looks whether the file for containers is there.
- name: habanalabs
  mountPath: {{ include "gaudi.intel.com.networkFolder" . }}
  readOnly: true
{{- if include "gaudi.intel.com.hlmlFolder" . }}
- name: hlml
  mountPath: /usr/lib/habanalabs
  readOnly: true
{{- end }}
{{- end }}

{{- define "gaudi.intel.com.volumes" -}}
- name: habanalabs
  hostPath:
    path: {{ include "gaudi.intel.com.networkFolder" . }}
    type: DirectoryOrCreate
{{- with include "gaudi.intel.com.hlmlFolder" . }}
- name: hlml
  hostPath:
    path: {{ . }}
    type: DirectoryOrCreate
{{- end }}
{{- end }}

{{- define "gaudi.intel.com.rules" -}}
{{- $remove := or .Values.removeOldTaintRules (contains `"removeOldTaintRules":true` (toJson .Values.config)) -}}
# To tell of those that Intel's Go driver has left of this node's devices. RBAC knows no "of your own node".
- apiGroups: [resource.k8s.io]
  resources: [devicetaintrules]
  verbs: [list{{ if $remove }}, delete{{ end }}]
{{- end }}
