{{/* What the pods of our four services share. Arguments: (dict "root" $ "component" "ingest"). */}}
{{- define "aimic.podMeta" -}}
labels:
  {{- include "aimic.labels" . | nindent 2 }}
  {{- if and (eq .component "trainer") .root.Values.trainer.kueueQueue }}
  kueue.x-k8s.io/queue-name: {{ .root.Values.trainer.kueueQueue }}
  {{- end }}
annotations:
  checksum/config: {{ include (printf "aimic.config.%s" .component) .root | sha256sum }}
  {{- with (index .root.Values .component).podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "aimic.podCommon" -}}
{{- $values := index .root.Values .component -}}
serviceAccountName: {{ include "aimic.fullname" .root }}
automountServiceAccountToken: false
# A Service's address given as AIMIC_INGEST_PORT=tcp://… would be read as a setting.
enableServiceLinks: false
{{- include "aimic.pullSecrets" .root }}
securityContext:
  {{- include "aimic.podSecurityContext" .root | nindent 2 }}
{{- with include "aimic.priorityClassName" (dict "root" .root "kind" (ternary "training" "serving" (eq .component "trainer"))) }}
priorityClassName: {{ . }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" }}
{{- with index $values $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
topologySpreadConstraints:
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "aimic.selectorLabels" $ | nindent 8 }}
  {{- end }}
{{- end }}

{{- define "aimic.containerCommon" -}}
{{- $values := index .root.Values .component -}}
image: {{ include "aimic.image" (dict "root" .root "image" $values.image) }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  {{- include "aimic.containerSecurityContext" .root | nindent 2 }}
resources:
  requests:
    {{- toYaml $values.resources.requests | nindent 4 }}
  limits:
    {{- toYaml $values.resources.limits | nindent 4 }}
    {{- with $values.gpu }}
    {{- if .resource }}
    {{ .resource }}: {{ .count | int }}
    {{- end }}
    {{- end }}
envFrom:
  - configMapRef: {name: {{ include "aimic.component" . }}}
{{- end }}

{{- define "aimic.env" -}}
{{- if and .root.Values.secrets.kafka.existingSecret (ne .component "dashboard") }}
- name: AIMIC_KAFKA_USERNAME
  valueFrom:
    secretKeyRef: {name: {{ .root.Values.secrets.kafka.existingSecret }}, key: username}
{{- end }}
{{- with (index .root.Values .component).extraEnv }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end }}

{{- define "aimic.mounts" -}}
- {name: data, mountPath: /data}
- {name: tmp, mountPath: /tmp}
- {name: secrets, mountPath: /etc/aimic/secrets, readOnly: true}
{{- if .root.Values.trust.configMap }}
- {name: trust, mountPath: /etc/aimic/trust, readOnly: true}
{{- end }}
{{- with (index .root.Values .component).extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* One volume with exactly the secrets that this component reads. */}}
{{- define "aimic.volumes" -}}
{{- $values := index .root.Values .component -}}
- {name: data, emptyDir: {sizeLimit: {{ $values.storage.data }}}}
- {name: tmp, emptyDir: {sizeLimit: {{ $values.storage.tmp }}}}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- $read := dict "keys" (list "api-key") }}
      {{- if eq .component "ingest" }}
      {{- $read = dict "keys" (list "api-key" "worker-key") "postgresql" (list "app-password" "system-password") "s3" (list "access-key" "secret-key") }}
      {{- else if eq .component "trainer" }}
      {{- $read = dict "keys" (list "worker-key") }}
      {{- end }}
      {{- if and .root.Values.secrets.kafka.existingSecret (ne .component "dashboard") }}
      {{- $_ := set $read "kafka" (list "password") }}
      {{- end }}
      {{- range $purpose, $keys := $read }}
      - secret:
          name: {{ include "aimic.secretName" (dict "root" $.root "purpose" $purpose) }}
          items:
            {{- range $keys }}
            - {key: {{ . }}, path: {{ $purpose }}/{{ . }}}
            {{- end }}
      {{- end }}
{{- with .root.Values.trust.configMap }}
- {name: trust, configMap: {name: {{ . }}}}
{{- end }}
{{- with $values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* startup: ten minutes for a slow node; liveness: whether the process turns; readiness: whether to send requests. */}}
{{- define "aimic.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: ops}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 300
livenessProbe:
  httpGet: {path: /healthz, port: ops}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: ops}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}

{{/* Until every node has heard that this pod goes, requests still come: it answers them meanwhile. */}}
{{- define "aimic.preStop" -}}
lifecycle:
  preStop:
    sleep: {seconds: 5}
{{- end }}
