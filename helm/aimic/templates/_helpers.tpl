{{/* Names, labels, images and security: what every template shares. Arguments: (dict "root" $ "component" "ingest"). */}}
{{- define "aimic.fullname" -}}
{{- $made := ternary .Release.Name (printf "%s-aimic" .Release.Name) (contains "aimic" .Release.Name) -}}
{{- .Values.fullnameOverride | default $made | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "aimic.component" -}}
{{ include "aimic.fullname" .root }}-{{ .component }}
{{- end }}

{{- define "aimic.selectorLabels" -}}
app.kubernetes.io/name: {{ .root.Values.nameOverride | default "aimic" }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "aimic.labels" -}}
{{ include "aimic.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- define "aimic.meta" -}}
name: {{ include "aimic.component" . }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "aimic.labels" . | nindent 2 }}
{{- end }}

{{/* (dict "root" $ "image" .Values.ingest.image) */}}
{{- define "aimic.image" -}}
{{- with .root.Values.image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{/* Of a pod; the argument is the root. */}}
{{- define "aimic.podSecurityContext" -}}
runAsNonRoot: true
{{- with .Values.security.runAsUser }}
runAsUser: {{ int . }}
runAsGroup: {{ int . }}
{{- end }}
{{- with .Values.security.fsGroup }}
fsGroup: {{ int . }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "aimic.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "aimic.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* The Secret of a purpose: (dict "root" $ "purpose" "postgresqlOwner"). */}}
{{- define "aimic.secretName" -}}
{{- $made := printf "%s-%s" (include "aimic.fullname" .root) (kebabcase .purpose) -}}
{{- (index .root.Values.secrets .purpose).existingSecret | default $made -}}
{{- end }}

{{/* (dict "root" $ "kind" "serving") */}}
{{- define "aimic.priorityClassName" -}}
{{- if .root.Values.priorityClasses.create -}}
{{ .root.Release.Namespace }}-{{ include "aimic.fullname" .root }}-{{ .kind }}
{{- else -}}
{{ index .root.Values.priorityClasses .kind }}
{{- end -}}
{{- end }}
