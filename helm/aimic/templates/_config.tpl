{{/* Settings that are no secrets. The argument is the root. */}}
{{- define "aimic.config.common" -}}
AIMIC_HOME: /data
AIMIC_HOST: 0.0.0.0
AIMIC_OPS_HOST: 0.0.0.0
AIMIC_LOG_LEVEL: {{ .Values.logLevel | quote }}
{{- with .Values.otlpEndpoint }}
AIMIC_OTLP_ENDPOINT: {{ . | quote }}
{{- end }}
HOME: /tmp
PYTHONUNBUFFERED: "1"
OMP_WAIT_POLICY: PASSIVE
{{- end }}

{{- define "aimic.config.ingestUrl" -}}
AIMIC_INGEST_URL: http://{{ include "aimic.fullname" . }}-ingest:8000
{{- end }}

{{- define "aimic.config.blobs" -}}
AIMIC_BLOBS_URL: {{ .Values.blobs.url | default (printf "s3+http://%s-minio:9000/aimic" (include "aimic.fullname" .)) | quote }}
{{- with .Values.trust.s3Key }}
AIMIC_S3_CA_FILE: /etc/aimic/trust/{{ . }}
{{- end }}
{{- end }}

{{- define "aimic.config.events" -}}
AIMIC_EVENTS_URL: {{ .Values.events.url | default (printf "kafka://%s-kafka:9092" (include "aimic.fullname" .)) | quote }}
AIMIC_KAFKA_MECHANISM: {{ ternary "PLAIN" .Values.events.mechanism .Values.kafka.enabled }}
AIMIC_KAFKA_REPLICATION: {{ .Values.events.replication | int | quote }}
{{- if .Values.secrets.kafka.existingSecret }}
AIMIC_KAFKA_PASSWORD_FILE: /etc/aimic/secrets/kafka/password
{{- end }}
{{- with .Values.trust.kafkaKey }}
AIMIC_KAFKA_CA_FILE: /etc/aimic/trust/{{ . }}
{{- end }}
{{- end }}

{{/* (dict "root" $ "login" "app" "given" .Values.records.url) */}}
{{- define "aimic.recordsUrl" -}}
{{- $made := printf "postgresql+psycopg://aimic_%s@%s-postgresql:5432/aimic" .login (include "aimic.fullname" .root) -}}
{{- .given | default $made -}}
{{- end }}

{{- define "aimic.config.ingest" -}}
{{ include "aimic.config.common" . }}
{{ include "aimic.config.blobs" . }}
{{ include "aimic.config.events" . }}
AIMIC_API_KEY_FILE: /etc/aimic/secrets/keys/api-key
AIMIC_WORKER_KEY_FILE: /etc/aimic/secrets/keys/worker-key
AIMIC_RECORDS_URL: {{ include "aimic.recordsUrl" (dict "root" . "login" "app" "given" .Values.records.url) | quote }}
AIMIC_RECORDS_PASSWORD_FILE: /etc/aimic/secrets/postgresql/app-password
AIMIC_RECORDS_SYSTEM_URL: {{ include "aimic.recordsUrl" (dict "root" . "login" "system" "given" .Values.records.systemUrl) | quote }}
AIMIC_RECORDS_SYSTEM_PASSWORD_FILE: /etc/aimic/secrets/postgresql/system-password
AIMIC_RECORDS_CONNECTIONS: {{ .Values.records.connections | int | quote }}
AIMIC_S3_ACCESS_KEY_FILE: /etc/aimic/secrets/s3/access-key
AIMIC_S3_SECRET_KEY_FILE: /etc/aimic/secrets/s3/secret-key
{{- with .Values.blobs.workerUrl }}
AIMIC_S3_WORKER_URL: {{ . | quote }}
{{- end }}
AIMIC_INGEST_UPLOAD_LIMIT: {{ mul (int .Values.limits.uploadGiB) 1073741824 | quote }}
{{- end }}

{{- define "aimic.config.inference" -}}
{{ include "aimic.config.common" . }}
{{ include "aimic.config.ingestUrl" . }}
{{ include "aimic.config.events" . }}
AIMIC_API_KEY_FILE: /etc/aimic/secrets/keys/api-key
AIMIC_INFERENCE_STOP_S: {{ .Values.inference.stopSeconds | int | quote }}
AIMIC_INFERENCE_REQUEST_BYTES: {{ mul (int .Values.limits.requestMiB) 1048576 | quote }}
AIMIC_INFERENCE_LONGEST_DEADLINE_S: {{ .Values.limits.seconds | int | quote }}
{{- end }}

{{- define "aimic.config.dashboard" -}}
{{ include "aimic.config.common" . }}
{{ include "aimic.config.ingestUrl" . }}
AIMIC_INFERENCE_URL: http://{{ include "aimic.fullname" . }}-inference:8001
AIMIC_API_KEY_FILE: /etc/aimic/secrets/keys/api-key
AIMIC_DASHBOARD_UPLOAD_MB: {{ .Values.limits.dashboardUploadMiB | int | quote }}
{{- end }}

{{- define "aimic.config.trainer" -}}
{{ include "aimic.config.common" . }}
{{ include "aimic.config.ingestUrl" . }}
{{ include "aimic.config.blobs" . }}
{{ include "aimic.config.events" . }}
AIMIC_WORKER_KEY_FILE: /etc/aimic/secrets/keys/worker-key
{{- if eq .Values.trainer.scaling "keda" }}
AIMIC_TRAINER_UNTIL_IDLE: "true"
{{- end }}
AIMIC_TRAINER_GRACE_S: {{ sub (int .Values.trainer.graceSeconds) 10 | quote }}
{{- if .Values.weights.existingClaim }}
AIMIC_WEIGHTS_DIR: /weights
{{- end }}
{{- end }}
