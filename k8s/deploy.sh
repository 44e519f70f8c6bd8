#!/bin/sh
# Puts the relay on a cluster and takes it off again; the Makefile's deploy targets call it.
#   deploy.sh render|deploy ENV REGISTRY TAG
#   deploy.sh undeploy ENV [delete]        delete: the volumes too
#   deploy.sh status ENV | logs ENV FUNCTION | restore ENV [FILE] | dead ENV [list|show ID|replay ID ...]
# CONTEXT=NAME says which cluster is meant, where it is not plainly one on this machine. KEDA=install installs KEDA.
# SESSIONS=on deploys, renders and takes off the receive servers of sessions too (docs/sessions.md).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
action=${1:-} env=${2:-local}
overlay=$here/overlays/$env
namespace=bongsu
keda_version=2.20.2
keda_manifest=https://github.com/kedacore/keda/releases/download/v$keda_version/keda-$keda_version.yaml
: "${PYTHON:=python3}" "${TIMEOUT:=300s}"

fail() {
    echo "bongsu: $*" >&2
    exit 1
}

need_overlay() {
    [ -f "$overlay/kustomization.yaml" ] ||
        fail "no overlay '$env': ENV is one of $(ls "$here/overlays" | tr '\n' ' ')"
    command -v kubectl >/dev/null || fail "kubectl is needed: https://kubernetes.io/docs/tasks/tools"
}

need_secrets() {
    "$PYTHON" "$here/credentials.py" --check "$env" || fail "secrets of '$env' are not ready (see above)"
}

need_cluster() {
    context=$(kubectl config current-context 2>/dev/null) || fail "kubectl has no context: choose one with kubectl config use-context"
    if [ -n "${CONTEXT:-}" ]; then
        [ "$CONTEXT" = "$context" ] || fail "kubectl's context is '$context', not '$CONTEXT': kubectl config use-context $CONTEXT"
    else
        case "$env/$context" in
        local/kind-* | local/k3d-* | local/minikube | local/docker-desktop | local/rancher-desktop) ;;
        *) fail "kubectl's context is '$context': if that is the cluster you mean, say CONTEXT=$context" ;;
        esac
    fi
    kubectl version --request-timeout=10s >/dev/null 2>&1 || fail "no answer from the cluster of context '$context'"
}

need_keda() {
    if ! kubectl get crd scaledobjects.keda.sh triggerauthentications.keda.sh >/dev/null 2>&1; then
        [ "${KEDA:-}" = install ] ||
            fail "KEDA is not on this cluster: again with KEDA=install, or kubectl apply --server-side -f $keda_manifest"
        kubectl apply --server-side -f "$keda_manifest"
    fi
    kubectl get namespace keda >/dev/null 2>&1 ||
        fail "KEDA is in another namespace than 'keda': put its name into k8s/base/network.yaml, and edit this check"
    kubectl wait --namespace keda --for=condition=Available deployment --all --timeout="$TIMEOUT"
}

render() {
    # Not through a pipe: sh would take its last command's word for the first's.
    kubectl kustomize "$overlay" >"$work/overlay.yaml" || fail "overlay '$env' cannot be rendered (see above)"
    # The images of REGISTRY and TAG, where others than ours: only what is ours is renamed.
    sed -E "s#^( *(- )?image: )bongsu/([a-z-]+):[^ ]+\$#\1$1/\3:$2#" "$work/overlay.yaml"
}

# What is rendered as three files, by document: `stores` with everything but workloads, `asleep` with the Deployments whose number
# KEDA owns, `rest` with everything.
split() {
    cp "$1" "$work/rest.yaml"
    awk -v folder="$work" '
        function put() {
            if (text == "") return
            kind = text; sub(/^(.*\n)?kind: /, "", kind); sub(/\n.*/, "", kind)
            is_store = kind == "StatefulSet" && text ~ /\n    bongsu\/role: store|\n        bongsu\/role: store/
            if (kind == "Deployment" && text !~ /\n  replicas:/) {
                sub(/\nspec:\n/, "\nspec:\n  replicas: 0\n", text)
                printf "---\n%s", text >(folder "/asleep.yaml")
            } else if (is_store || kind !~ /^(Deployment|StatefulSet|DaemonSet|Job|CronJob|ScaledObject|TriggerAuthentication)$/)
                printf "---\n%s", text >(folder "/stores.yaml")
            text = ""
        }
        /^---$/ { put(); next }
        { text = text $0 "\n" }
        END { put() }' "$1"
}

# Why something is not there yet: every pod that does not run, and its latest event.
explain() {
    kubectl get pods --namespace $namespace --no-headers 2>/dev/null |
        while read -r pod ready state _; do
            case "$state/$ready" in
            Completed/* | Running/1/1 | Running/2/2) continue ;;
            esac
            said=$(kubectl get events --namespace $namespace --field-selector "involvedObject.name=$pod" \
                --sort-by=.lastTimestamp --output 'jsonpath={range .items[*]}{.reason}{": "}{.message}{"\n"}{end}' 2>/dev/null | tail -1)
            echo "bongsu: pod $pod is $state: ${said:-no event}" >&2
        done
}

failed() {
    explain
    fail "$@"
}

ready() { # ready WORKLOAD [NAMESPACE]
    in=${2:-$namespace}
    kubectl rollout status --namespace "$in" "$1" --timeout="$TIMEOUT" ||
        failed "$1 is not ready within $TIMEOUT (TIMEOUT=15m gives it longer): kubectl describe --namespace $in $1"
}

completed() {
    kubectl wait --namespace $namespace --for=condition=Complete "job/$1" --timeout="$TIMEOUT" ||
        failed "$2: kubectl logs --namespace $namespace job/$1"
}

# The broker's users as the secrets have them now: it reads its own copy at its start only. The one user of older versions,
# who was allowed everything, goes.
put_users() {
    kubectl exec --stdin --namespace $namespace statefulset/rabbitmq -- rabbitmqctl -q import_definitions --format json \
        <"$overlay/secrets/definitions.json" || failed "the broker does not take its users (see above)"
    kubectl exec --namespace $namespace statefulset/rabbitmq -- rabbitmqctl -q delete_user bongsu >/dev/null 2>&1 || true
}

need_session_keys() {
    [ -s "$here/sessions/keys" ] ||
        fail "nobody could ask for a session: bongsu key new NAME --role viewer >>k8s/sessions/keys"
}

render_sessions() { # render_sessions REGISTRY TAG
    kubectl kustomize "$here/sessions" >"$work/plain.yaml" || fail "k8s/sessions cannot be rendered (see above)"
    sed -E "s#^( *(- )?image: )bongsu/([a-z-]+):[^ ]+\$#\1$1/\3:$2#" "$work/plain.yaml"
}

deploy_sessions() { # deploy_sessions REGISTRY TAG
    render_sessions "$1" "$2" >"$work/sessions.yaml"
    kubectl apply -f "$work/sessions.yaml"
    # What tokens are made with is made once: another would lock out all clients.
    if ! kubectl get secret session-tokens --namespace bongsu-sessions >/dev/null 2>&1; then
        head -c 32 /dev/urandom >"$work/secret"
        kubectl create secret generic session-tokens --namespace bongsu-sessions --from-file="$work/secret"
    fi
    kubectl create secret generic session-keys --namespace bongsu-sessions --from-file="$here/sessions/keys" \
        --dry-run=client --output yaml >"$work/keys.yaml"
    kubectl apply -f "$work/keys.yaml"
    ready deployment/sessions bongsu-sessions
}

deploy() {
    need_overlay
    need_secrets
    need_cluster
    need_keda
    [ "${SESSIONS:-off}" = off ] || need_session_keys
    render "$1" "$2" >"$work/all.yaml"
    split "$work/all.yaml"
    # A Job's template cannot change, and these may be run as often as one likes.
    kubectl delete job topology migration --namespace $namespace --ignore-not-found >/dev/null 2>&1 || true
    echo "the stores first ..."
    kubectl apply -f "$work/stores.yaml"
    ready statefulset/rabbitmq
    ready statefulset/mysql
    put_users
    # A Deployment that names no number starts at one, and a full node of those keeps out what they need. So they are created at
    # zero, once; from then on the number is KEDA's, and nothing here says one. What is there already is left alone.
    kubectl create -f "$work/asleep.yaml" 2>"$work/created" || grep -v AlreadyExists "$work/created" >&2 || true
    kubectl apply -f "$work/rest.yaml"
    echo "waiting for what is always on ..."
    completed topology "the queues are not declared"
    completed migration "the database's tables are not there"
    ready deployment/api
    ready daemonset/motion
    kubectl wait --namespace $namespace --for=condition=Ready scaledobject --all --timeout="$TIMEOUT" ||
        fail "KEDA cannot read the queues: kubectl describe --namespace $namespace scaledobject"
    [ "${SESSIONS:-off}" = off ] || deploy_sessions "$1" "$2"
    status
    echo
    host=$(kubectl get ingress api --namespace $namespace -o 'jsonpath={.spec.rules[0].host}')
    echo "page: http://$host/ where an ingress controller serves it; anywhere: kubectl port-forward -n $namespace service/api 8080:80, then http://127.0.0.1:8080/"
}

# A pod of a node that is away ends when that node says so, which may be never: nobody should wait for that.
left_behind() {
    dead=$(kubectl get nodes --no-headers | awk '$2 ~ /NotReady/ { print $1 }')
    if [ -z "$dead" ]; then
        explain
        echo "bongsu: not all is gone within $TIMEOUT (see above); going on with the rest" >&2
        return
    fi
    for node in $dead; do
        pods=$(kubectl get pods --namespace $namespace --field-selector "spec.nodeName=$node" --output name | tr '\n' ' ')
        [ -z "$pods" ] ||
            echo "bongsu: node $node does not answer, so its pods stay until it does: $pods(if it is gone for good: kubectl delete node $node)" >&2
    done
}

# bongsu dead …, as the broker's operator: a pod of its own, because no service may read the dead letters.
dead() {
    image=$(kubectl get job topology --namespace $namespace --output 'jsonpath={.spec.template.spec.containers[0].image}') ||
        fail "the topology Job is not there: make deploy ENV=$env"
    arguments=""
    for argument; do
        echo "$argument" | grep -Eq '^[A-Za-z0-9._:=-]+$' || fail "dead: '$argument' is not an argument of bongsu dead"
        arguments="$arguments, \"$argument\""
    done
    kubectl run dead --namespace $namespace --image "$image" --rm --attach --quiet --restart Never \
        --labels app.kubernetes.io/name=dead,app.kubernetes.io/part-of=bongsu,bongsu/role=job --overrides '{"spec": {
            "automountServiceAccountToken": false, "enableServiceLinks": false, "serviceAccountName": "bongsu",
            "securityContext": {"runAsNonRoot": true, "runAsUser": 10001, "runAsGroup": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "dead", "image": "'"$image"'", "command": ["bongsu", "dead"'"$arguments"'],
                "envFrom": [{"secretRef": {"name": "bongsu-broker-operator"}}],
                "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
                "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}}}]}}'
}

undeploy() {
    need_overlay
    need_cluster
    # Sessions last no longer than their receive servers, so all of it goes.
    [ "${SESSIONS:-off}" = off ] || kubectl delete --kustomize "$here/sessions" --ignore-not-found --timeout="$TIMEOUT"
    if [ "${1:-}" = delete ]; then
        # The namespace takes its volumes with it.
        kubectl delete namespace $namespace --ignore-not-found --timeout="$TIMEOUT" || left_behind
        kubectl delete priorityclass --selector app.kubernetes.io/part-of=bongsu --ignore-not-found
        return
    fi
    # Scaled objects first, while KEDA still finds what they scale. Volumes, secrets and the namespace stay.
    for kinds in scaledobject,triggerauthentication deployment,statefulset,daemonset,job,cronjob,pod \
        service,ingress,networkpolicy,poddisruptionbudget,configmap,lease; do
        kubectl delete "$kinds" --namespace $namespace --selector app.kubernetes.io/part-of=bongsu --timeout="$TIMEOUT" ||
            left_behind
    done
    kubectl delete priorityclass --selector app.kubernetes.io/part-of=bongsu --ignore-not-found
    echo "volumes and secrets are kept; without them: make undeploy ENV=$env VOLUMES=delete"
}

status() {
    kubectl get --namespace $namespace daemonset,statefulset,deployment,scaledobject,job -o wide
    kubectl get --namespace $namespace pods
    echo "edge nodes:"
    kubectl get --namespace $namespace lease --selector app.kubernetes.io/name=motion \
        --output custom-columns=NODE:.spec.holderIdentity,RENEWED:.spec.renewTime,SINCE:.spec.acquireTime
    echo "queues:"
    kubectl exec --namespace $namespace statefulset/rabbitmq -- \
        rabbitmqctl -q list_queues name messages_ready messages_unacknowledged consumers ||
        echo "rabbitmq does not answer"
}

restore() {
    need_overlay
    need_cluster
    [ -n "${1:-}" ] || fail "say which: make restore FILE=bongsu-20261101T181700Z.sql.gz (kubectl logs -n $namespace job/… of a backup names its file)"
    echo "$1" | grep -Eq '^[A-Za-z0-9._-]+$' || fail "a file's name only, as bongsu-20261101T181700Z.sql.gz, got '$1'"
    kubectl delete job restore --namespace $namespace --ignore-not-found
    # The backup's own Job, but that it reads: what is in the database now is replaced.
    kubectl create job restore --from=cronjob/backup --namespace $namespace --dry-run=client --output yaml |
        kubectl set env --local --filename - "RESTORE=$1" --output yaml |
        kubectl apply --filename -
    kubectl wait --namespace $namespace --for=condition=Complete job/restore --timeout="$TIMEOUT" ||
        fail "not restored: kubectl logs --namespace $namespace job/restore"
    echo "restored $1; if it is of an older version, make deploy brings its tables up"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
case "$action" in
render)
    need_overlay
    need_secrets
    render "${3:-bongsu}" "${4:-0.1.0}"
    if [ "${SESSIONS:-off}" != off ]; then
        echo ---
        render_sessions "${3:-bongsu}" "${4:-0.1.0}"
    fi
    ;;
deploy) deploy "${3:-bongsu}" "${4:-0.1.0}" ;;
undeploy) undeploy "${3:-}" ;;
status)
    need_overlay
    need_cluster
    status
    ;;
logs)
    need_overlay
    need_cluster
    [ -n "${3:-}" ] || fail "say whose: make logs F=post"
    kubectl logs --namespace $namespace --selector "app.kubernetes.io/name=$3" --all-containers --prefix --follow --tail=200 --max-log-requests=20
    ;;
restore) restore "${3:-}" ;;
dead)
    need_overlay
    need_cluster
    shift 2
    [ $# -gt 0 ] || set -- list
    dead "$@"
    ;;
*) fail "usage: deploy.sh render|deploy|undeploy|status|logs|restore|dead ENV ..." ;;
esac
