{{- define "aimic.fullname" -}}
{{- if contains "aimic" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-aimic" (.Release.Name | trunc 34) }}{{ end -}}
{{- end -}}

{{- /* What tells a component's pods from all others: (dict "root" $ "component" "ingest"). */ -}}
{{- define "aimic.selector" -}}
app.kubernetes.io/name: aimic
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "aimic.labels" -}}
{{ include "aimic.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end -}}

{{- define "aimic.image" -}}
{{- $image := (get .root.Values .component).image -}}
{{- $name := printf "%s:%s" $image.repository ($image.tag | default .root.Chart.AppVersion) -}}
{{- if .root.Values.image.registry }}{{ printf "%s/%s" .root.Values.image.registry $name }}{{ else }}{{ $name }}{{ end -}}
{{- end -}}

{{- define "aimic.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- /* A secret's files in a volume: (dict "name" "s3" "secret" "its-name"). */ -}}
{{- define "aimic.secretVolume" -}}
- name: {{ .name }}
  secret: {secretName: {{ .secret }}, defaultMode: 0440}
{{- end -}}

{{- /* The port table of files/arrows.yaml. */ -}}
{{- define "aimic.ports" -}}
{{- range $name, $port := get (.root.Files.Get "files/arrows.yaml" | fromYaml).ports .component -}}
- {name: {{ $name }}, containerPort: {{ int $port }}}
{{ end -}}
{{- end -}}

{{- /* Alive is whether the process turns; ready is what the service says of itself. */ -}}
{{- define "aimic.probes" -}}
startupProbe: {httpGet: {path: /healthz, port: ops}, periodSeconds: 2, failureThreshold: 90}
readinessProbe: {httpGet: {path: /readyz, port: ops}, periodSeconds: 5, timeoutSeconds: 3}
livenessProbe: {httpGet: {path: /healthz, port: ops}, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6}
{{- end -}}
