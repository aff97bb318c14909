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
