{{/* The pod of a trainer: (dict "root" $ "component" "trainer" "restart" "Always"). */}}
{{- define "aimic.trainerSpec" -}}
{{- include "aimic.podCommon" . }}
restartPolicy: {{ .restart }}
terminationGracePeriodSeconds: {{ .root.Values.trainer.graceSeconds | int }}
containers:
  - name: trainer
    command: [/opt/aimic/bin/python, -m, services.trainer]
    {{- include "aimic.containerCommon" . | nindent 4 }}
    {{- with include "aimic.env" . }}
    env:
      {{- . | trim | nindent 6 }}
    {{- end }}
    ports:
      - {name: ops, containerPort: 9003}
    {{- include "aimic.probes" .root | nindent 4 }}
    volumeMounts:
      {{- include "aimic.mounts" . | nindent 6 }}
      - {name: shm, mountPath: /dev/shm}
      {{- if .root.Values.weights.existingClaim }}
      - {name: weights, mountPath: /weights, readOnly: true}
      {{- end }}
volumes:
  {{- include "aimic.volumes" . | nindent 2 }}
  - {name: shm, emptyDir: {medium: Memory, sizeLimit: {{ .root.Values.trainer.storage.shm }}}}
  {{- with .root.Values.weights.existingClaim }}
  - {name: weights, persistentVolumeClaim: {claimName: {{ . }}, readOnly: true}}
  {{- end }}
{{- end }}
