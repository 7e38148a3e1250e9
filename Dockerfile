# Fairlead's server, agent and command line in one image, for linux/amd64 and linux/arm64:
#   docker build -t fairlead .
#   docker buildx build --platform linux/amd64,linux/arm64 -t fairlead .
# The server runs as the user `node`. An agent needs `--user root --cap-add NET_ADMIN` and the network that it programs.

FROM node:24-bookworm-slim AS libraries
WORKDIR /opt/fairlead
COPY package.json package-lock.json ./
# Node is the image's own, and better-sqlite3 brings a library for each architecture: nothing is compiled.
RUN arch=$(node -p process.arch) \
 && case $arch in x64 | arm64) ;; *) echo "no image for $arch: amd64 and arm64 only" >&2; exit 1 ;; esac \
 && npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund --loglevel=error \
 && cd node_modules/better-sqlite3 && rm -rf deps src build binding.gyp \
 && find prebuilds -type f ! -name "linux-$arch.node" -delete \
 && touch ../.fairlead-lock

FROM node:24-bookworm-slim
# What the agent programs the kernel with. Empty where the base image has it already.
ARG PACKAGES="conntrack iproute2 ipset iptables ipvsadm kmod nftables procps"
RUN [ -z "$PACKAGES" ] \
 || { apt-get update && apt-get install --yes --no-install-recommends $PACKAGES && rm -rf /var/lib/apt/lists/*; }
WORKDIR /opt/fairlead
COPY --from=libraries /opt/fairlead ./
# Only what .dockerignore lets in.
COPY . ./
RUN rm package-lock.json && ln -s /opt/fairlead/fairlead /usr/local/bin/fairlead \
 && install -d -o node -g node /etc/fairlead /var/lib/fairlead /var/lib/fairlead/server
USER node
ENTRYPOINT ["fairlead"]
CMD ["server"]
