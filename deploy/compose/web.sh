# web.sh NAME: a web server that is a workload of this host for as long as it runs.
set -eu
until [ -s /host/node.yaml ]; do sleep 0.2; done # this host has not joined yet
exec fairlead --kubeconfig /host/node.yaml register "$1" --label app=web --port http=8080 --check http:/ --follow -- node /demo/web.ts "$1"
