{{- define "driver.rbac" -}}
# Exactly the calls that the driver makes. It can write slices of other nodes only as far as this goes: the admission
# policy confines it to its own.
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ include "driver.clusterName" . }}
  labels:
    {{- include "driver.labels" . | nindent 4 }}
rules:
  - apiGroups: [""]
    resources: [nodes]
    verbs: [get]
  - apiGroups: [resource.k8s.io]
    resources: [resourceclaims]
    verbs: [get]
  - apiGroups: [resource.k8s.io]
    resources: [resourceslices]
    verbs: [list, watch, create, update, delete]
  {{- if .Values.claimStatus }}
  - apiGroups: [resource.k8s.io]
    resources: [resourceclaims/status]
    verbs: [update]
  # Since Kubernetes 1.36: of claims allocated on its own node, and its own devices only.
  - apiGroups: [resource.k8s.io]
    resources: [resourceclaims/driver]
    resourceNames: [{{ .Chart.Annotations.driver }}]
    verbs: ["associated-node:update"]
  {{- end }}
  {{- with include "driver.own" (list . "rules") }}
  {{- . | nindent 2 }}
  {{- end }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ include "driver.clusterName" . }}
  labels:
    {{- include "driver.labels" . | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ include "driver.clusterName" . }}
subjects:
  - kind: ServiceAccount
    name: {{ include "driver.serviceAccount" . }}
    namespace: {{ .Release.Namespace }}
---
# Events on a Node are in the namespace `default`: the API wants those of cluster-scoped objects there.
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ include "driver.clusterName" . }}
  namespace: default
  labels:
    {{- include "driver.labels" . | nindent 4 }}
rules:
  - apiGroups: [events.k8s.io]
    resources: [events]
    verbs: [create, update]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ include "driver.clusterName" . }}
  namespace: default
  labels:
    {{- include "driver.labels" . | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ include "driver.clusterName" . }}
subjects:
  - kind: ServiceAccount
    name: {{ include "driver.serviceAccount" . }}
    namespace: {{ .Release.Namespace }}
{{- end }}
