{{- define "driver.admission" -}}
# RBAC knows no "slices of your own node": whoever gets hold of one node's token could otherwise offer devices of another.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ include "driver.clusterName" . }}
  labels:
    {{- include "driver.labels" . | nindent 4 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - apiGroups: [resource.k8s.io]
        apiVersions: [v1, v1beta2, v1beta1]
        operations: [CREATE, UPDATE, DELETE]
        resources: [resourceslices]
  matchConditions:
    - name: is-the-driver
      expression: >-
        request.userInfo.username ==
        "system:serviceaccount:{{ .Release.Namespace }}:{{ include "driver.serviceAccount" . }}"
  variables:
    # In the token of a pod, from the API server itself (ServiceAccountTokenPodNodeInfo, GA in 1.32).
    - name: node
      expression: >-
        request.userInfo.extra[?"authentication.kubernetes.io/node-name"][0].orValue("")
    - name: slice
      expression: >-
        request.operation == "DELETE" ? oldObject : object
    - name: sliceNode
      expression: >-
        variables.slice.spec.?nodeName.orValue("")
  validations:
    - expression: variables.node != ""
      reason: Forbidden
      message: the token of this ServiceAccount is bound to no pod on a node, so that it may write no ResourceSlice
    - expression: variables.sliceNode == variables.node
      reason: Forbidden
      messageExpression: >-
        "the driver on node '" + variables.node + "' may write ResourceSlices of that node only, this one is of " +
        (variables.sliceNode == "" ? "no single node" : "node '" + variables.sliceNode + "'")
    - expression: variables.slice.spec.driver == "{{ .Chart.Annotations.driver }}"
      reason: Forbidden
      messageExpression: >-
        "this ServiceAccount may write ResourceSlices of {{ .Chart.Annotations.driver }} only, this one is of " + variables.slice.spec.driver
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ include "driver.clusterName" . }}
  labels:
    {{- include "driver.labels" . | nindent 4 }}
spec:
  policyName: {{ include "driver.clusterName" . }}
  validationActions: [Deny]
{{- end }}
