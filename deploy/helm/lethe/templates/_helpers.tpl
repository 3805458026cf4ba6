{{- define "lethe.name" -}}
{{- if contains "lethe" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-lethe{{ end }}
{{- end }}

{{- define "lethe.selector" -}}
app.kubernetes.io/name: lethe
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "lethe.labels" -}}
{{ include "lethe.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "lethe.secret" -}}
{{ .Values.secret.existing | default (include "lethe.name" .) }}
{{- end }}

{{- /* A user without a name, no capability, nothing to write to but the mounts. */}}
{{- define "lethe.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "lethe.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* Where the gateway finds vLLM: every replica by its own name, since the gateway examines each and balances them. */}}
{{- define "lethe.urls" -}}
{{- if .Values.vllm.enabled }}
{{- $urls := list }}
{{- range $i := until (int .Values.vllm.replicas) }}
{{- $host := printf "%s-vllm-%d.%s-vllm" (include "lethe.name" $) $i (include "lethe.name" $) }}
{{- $urls = append $urls (printf "http://%s:8000/v1" $host) }}
{{- end }}
{{- join "," $urls }}
{{- else }}
{{- join "," .Values.vllm.urls }}
{{- end }}
{{- end }}

{{- /* What would not work, or not keep its promise, is not rendered. */}}
{{- define "lethe.check" -}}
{{- $v := .Values }}
{{- $_ := required "model.name is needed: what vLLM calls the model" $v.model.name }}
{{- $_ := required "model.claim is needed: the volume claim that holds the model's folder" $v.model.claim }}
{{- $several := or $v.autoscaling.enabled (gt (int $v.gateway.replicas) 1) }}
{{- if and $several (not $v.registry.postgres) }}
{{- fail "several gateways need registry.postgres: SQLite is for one" }}
{{- end }}
{{- if and $several (ne $v.state.accessMode "ReadWriteMany") }}
{{- fail "several gateways share their artifacts: state.accessMode must be ReadWriteMany" }}
{{- end }}
{{- if and $v.registry.postgres $v.networkPolicy.enabled (not $v.networkPolicy.egress) }}
{{- fail "networkPolicy.egress must let the gateway reach Postgres" }}
{{- end }}
{{- if not $v.vllm.enabled }}
{{- $_ := required "vllm.urls is needed where vllm.enabled is false" (first $v.vllm.urls) }}
{{- if and $v.networkPolicy.enabled (not $v.networkPolicy.egress) }}
{{- fail "networkPolicy.egress must let the gateway reach vllm.urls" }}
{{- end }}
{{- end }}
{{- $refused := (.Files.Get "files/vllm.yaml" | fromYaml).refused }}
{{- range $v.vllm.args }}
{{- if has (. | splitList "=" | first | replace "_" "-") $refused.arguments }}
{{- fail (printf "vllm.args: %s opens a way around the gateway, or says otherwise than the chart" .) }}
{{- end }}
{{- end }}
{{- range $variable, $_ := $v.vllm.env }}
{{- if has $variable $refused.variables }}
{{- fail (printf "vllm.env: %s opens a way around the gateway, or says otherwise than the chart" $variable) }}
{{- end }}
{{- end }}
{{- end }}
