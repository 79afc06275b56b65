{{- /* What every pod of ours has in common: (dict "root" $ "component" "ingest"). */ -}}
{{- define "aimic.podCommon" -}}
{{- $values := get .root.Values .component -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- if .root.Values.priorityClasses.create }}
priorityClassName: {{ include "aimic.fullname" .root }}-{{ eq .component "trainer" | ternary "training" "serving" }}
{{- end }}
securityContext: {runAsNonRoot: true, runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001, seccompProfile: {type: RuntimeDefault}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "aimic.selector" . | nindent 8 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "aimic.container" -}}
{{- $values := get .root.Values .component -}}
image: {{ include "aimic.image" . }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext: {{- include "aimic.containerSecurity" . | nindent 2 }}
resources:
  requests: {{- toYaml $values.resources.requests | nindent 4 }}
  limits:
    {{- toYaml $values.resources.limits | nindent 4 }}
    {{- if eq .component "trainer" }}{{ with $values.gpu }}{{ if .resource }}
    {{ .resource }}: {{ .count }}
    {{- end }}{{ end }}{{ end }}
{{- end -}}

{{- define "aimic.env" -}}
{{- $values := get .root.Values .component -}}
- {name: AIMIC_HOME, value: /data}
- {name: AIMIC_HOST, value: 0.0.0.0}
- {name: AIMIC_OPS_HOST, value: 0.0.0.0}
- {name: OMP_WAIT_POLICY, value: PASSIVE}
- {name: AIMIC_API_KEY_FILE, value: /secrets/keys/api-key}
- {name: AIMIC_INGEST_URL, value: "http://{{ include "aimic.fullname" .root }}-ingest:8000"}
{{- with $values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "aimic.eventsEnv" -}}
- {name: AIMIC_EVENTS_URL, value: {{ required "events.url is missing: the address of your Kafka, such as kafka+tls://kafka.example:9093" .Values.events.url | quote }}}
{{- if .Values.secrets.kafka }}
- name: AIMIC_KAFKA_USERNAME
  valueFrom: {secretKeyRef: {name: {{ .Values.secrets.kafka }}, key: username}}
- {name: AIMIC_KAFKA_PASSWORD_FILE, value: /secrets/kafka/password}
{{- end }}
{{- end -}}

{{- define "aimic.blobsEnv" -}}
- {name: AIMIC_BLOBS_URL, value: {{ required "blobs.url is missing: the address of your S3 bucket, such as s3+https://s3.example/aimic" .Values.blobs.url | quote }}}
{{- end -}}

{{- define "aimic.recordsEnv" -}}
- {name: AIMIC_RECORDS_URL, value: {{ required "records.url is missing: the address of your PostgreSQL for the login aimic_app" .Values.records.url | quote }}}
- {name: AIMIC_RECORDS_PASSWORD_FILE, value: /secrets/postgresql/app-password}
- {name: AIMIC_RECORDS_SYSTEM_URL, value: {{ required "records.systemUrl is missing: the same database for the login aimic_system" .Values.records.systemUrl | quote }}}
- {name: AIMIC_RECORDS_SYSTEM_PASSWORD_FILE, value: /secrets/postgresql/system-password}
{{- end -}}

{{- /* Mounts of the component's secrets and of its two writable places. */ -}}
{{- define "aimic.mounts" -}}
- {name: data, mountPath: /data}
- {name: tmp, mountPath: /tmp}
{{- range .secrets }}
- {name: {{ . | kebabcase }}, mountPath: /secrets/{{ . | kebabcase }}, readOnly: true}
{{- end }}
{{- end -}}

{{- define "aimic.volumes" -}}
{{- $root := .root -}}
- name: data
  emptyDir: {sizeLimit: {{ (get .root.Values .component).scratch }}}
- name: tmp
  emptyDir: {sizeLimit: 2Gi}
{{- range .secrets }}
{{ include "aimic.secretVolume" (dict "name" (. | kebabcase) "secret" (required (printf "secrets.%s is missing: the name of a secret that you make; see values.yaml for its keys" .) (get $root.Values.secrets .))) }}
{{- end }}
{{- end -}}
