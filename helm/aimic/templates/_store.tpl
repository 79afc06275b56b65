{{/* What the pods of the three stores and of the edge have in common. Takes (dict "root" $ "component" "kafka"). */}}
{{- define "aimic.store.pod" -}}
{{- $values := index .root.Values .component -}}
automountServiceAccountToken: false
{{- /* Service links would put variables such as AIMIC_KAFKA_PORT=tcp://… beside the real settings. */}}
enableServiceLinks: false
{{- include "aimic.pullSecrets" .root }}
{{- with include "aimic.priorityClassName" (dict "root" .root "kind" "serving") }}
priorityClassName: {{ . }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" }}
{{- with index $values $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* The claim of a store. It stays when the release goes: it holds the images and the records. */}}
{{- define "aimic.store.claim" -}}
{{- $values := index .root.Values .component -}}
persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: Retain}
volumeClaimTemplates:
  - metadata:
      name: data
      labels:
        {{- include "aimic.selectorLabels" . | nindent 8 }}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with $values.storage.className }}
      storageClassName: {{ . }}
      {{- end }}
      resources:
        requests:
          storage: {{ $values.storage.size }}
{{- end }}

{{/* The Service of a store; adds "port" (its name and the container's) and "number" to what the others take. */}}
{{- define "aimic.store.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "aimic.fullname" .root }}-{{ .component }}
  labels:
    {{- include "aimic.labels" . | nindent 4 }}
spec:
  selector:
    {{- include "aimic.selectorLabels" . | nindent 4 }}
  ports:
    - {name: {{ .port }}, port: {{ .number }}, targetPort: {{ .port }}}
{{- end }}
