{{/* Those of one end of an arrow as a NetworkPolicy's peers, or nothing where that end is not there:
     (dict "root" $ "name" "kafka" "table" $table). */}}
{{- define "aimic.peers" -}}
{{- $policies := .root.Values.networkPolicies -}}
{{- $values := .root.Values -}}
{{- if has .name (list "ingest" "inference" "dashboard" "trainer") }}
{{- include "aimic.peerPods" . }}
{{- else if eq .name "edge" }}
{{- if $values.edge.enabled }}
{{- include "aimic.peerPods" . }}
{{- end }}
{{- else if has .name (list "kafka" "minio" "postgresql") }}
{{- if (index $values .name).enabled }}
{{- include "aimic.peerPods" . }}
{{- else }}
{{- include "aimic.peerAddresses" (index $policies.external (index .table.external .name)).cidrs }}
{{- end }}
{{- else if eq .name "dns" }}
{{- include "aimic.peerNamespace" $policies.dns.namespaceLabels }}
{{- include "aimic.peerAddresses" $policies.dns.cidrs }}
{{- else if eq .name "clients" }}
{{- include "aimic.peerAddresses" ($policies.clients.cidrs | default (list "0.0.0.0/0" "::/0")) }}
{{- else if and (eq .name "controller") (not $values.edge.enabled) }}
{{- include "aimic.peerNamespace" $policies.ingressController.namespaceLabels }}
{{- else if and (eq .name "prometheus") $values.monitoring.serviceMonitor.enabled }}
{{- include "aimic.peerNamespace" $policies.prometheus.namespaceLabels }}
{{- else if and (eq .name "keda") (eq $values.trainer.scaling "keda") }}
{{- include "aimic.peerNamespace" $policies.keda.namespaceLabels }}
{{- end }}
{{- end }}

{{- define "aimic.peerPods" }}
- podSelector:
    matchLabels:
      {{- include "aimic.selectorLabels" (dict "root" .root "component" .name) | nindent 6 }}
{{- end }}

{{- define "aimic.peerNamespace" }}
- namespaceSelector:
    matchLabels:
      {{- toYaml . | nindent 6 }}
{{- end }}

{{- define "aimic.peerAddresses" }}
{{- range . }}
- ipBlock: {cidr: {{ . | quote }}}
{{- end }}
{{- end }}

{{/* The ports at an arrow's head: (dict "root" $ "arrow" $arrow "table" $table). */}}
{{- define "aimic.arrowPorts" -}}
{{- $to := .arrow.to -}}
{{- if eq $to "dns" }}
- {protocol: UDP, port: 53}
- {protocol: TCP, port: 53}
{{- else if and (hasKey .table.external $to) (not (index .root.Values $to).enabled) }}
{{- range (index .root.Values.networkPolicies.external (index .table.external $to)).ports }}
- {protocol: TCP, port: {{ int . }}}
{{- end }}
{{- else }}
- {protocol: TCP, port: {{ int (index (index .table.ports $to) .arrow.port) }}}
{{- end }}
{{- end }}
