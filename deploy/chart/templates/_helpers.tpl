{{- define "gate.name" -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "gate.pods" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "gate.labels" -}}
{{ include "gate.pods" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "gate.image" -}}
{{ .Values.image.repository }}{{ with .Values.image.digest }}@{{ . }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "gate.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "gate.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* What the schema cannot say: sums, and that one value fits another. */}}
{{- define "gate.check" -}}
{{- $drain := .Values.config.limits | default dict | dig "drain_timeout" "30s" | trimSuffix "s" | int }}
{{- $needed := add .Values.preStopSeconds $drain }}
{{- if le (int .Values.terminationGracePeriodSeconds) (int $needed) }}
{{- fail (printf "terminationGracePeriodSeconds is %d, but preStopSeconds and config.limits.drain_timeout take %d; expected more, or requests are cut off" (int .Values.terminationGracePeriodSeconds) (int $needed)) }}
{{- end }}
{{- $address := (index .Values.config.listen 0).address }}
{{- if not (hasSuffix (printf ":%d" (int .Values.port)) $address) }}
{{- fail (printf "config.listen[0].address is %s, but port is %d; expected the same port" $address (int .Values.port)) }}
{{- end }}
{{- $store := dig "dpop" "replay" "store" "memory" .Values.config }}
{{- if and .Values.autoscaling.enabled (ne $store "redis") }}
{{- fail "autoscaling needs config.dpop.replay.store: redis; each memory store would take the same proof once" }}
{{- end }}
{{- if and .Values.nonceRotation.enabled (not (dig "dpop" "nonce" "secret_file" "" .Values.config)) }}
{{- fail "nonceRotation rotates what config.dpop.nonce.secret_file names; expected nonce/current, and previous_secret_file: nonce/previous" }}
{{- end }}
{{- end }}

{{- define "gate.container" -}}
name: dpop-gate
image: {{ include "gate.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [run, --config, /etc/dpop-gate/gate.yaml]
ports:
  - {name: gate, containerPort: {{ .Values.port }}}
  - {name: admin, containerPort: 9901}
startupProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 1
  failureThreshold: 30
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 5
livenessProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 10
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- include "gate.security" . | nindent 2 }}
volumeMounts:
  - {name: gate, mountPath: /etc/dpop-gate, readOnly: true}
{{- end }}
