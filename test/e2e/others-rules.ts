/** Rules of others as they write them, for a host of the fleet: what their daemons do is in coexistence-*; this is for where those cannot run. */

/** Docker 20 to 27 with a container network on docker0 and another on br-0123456789ab, which publishes `published` of a container. */
export function dockerRules({ container, published }: { readonly container: string; readonly published: number }): string {
  const [one, two] = ["docker0", "br-0123456789ab"];
  return `*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 10.201.1.0/24 ! -o ${two} -j MASQUERADE
-A POSTROUTING -s 10.200.1.0/24 ! -o ${one} -j MASQUERADE
-A POSTROUTING -s ${container}/32 -d ${container}/32 -p tcp -m tcp --dport 8080 -j MASQUERADE
-A DOCKER -i ${one} -j RETURN
-A DOCKER -i ${two} -j RETURN
-A DOCKER ! -i ${one} -p tcp -m tcp --dport ${published} -j DNAT --to-destination ${container}:8080
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
${[two, one]
  .map(
    (bridge) => `-A FORWARD -o ${bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o ${bridge} -j DOCKER
-A FORWARD -i ${bridge} ! -o ${bridge} -j ACCEPT
-A FORWARD -i ${bridge} -o ${bridge} -j ACCEPT`,
  )
  .join("\n")}
-A DOCKER -d ${container}/32 ! -i ${one} -o ${one} -p tcp -m tcp --dport 8080 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i ${two} ! -o ${two} -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -i ${one} ! -o ${one} -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o ${two} -j DROP
-A DOCKER-ISOLATION-STAGE-2 -o ${one} -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
`;
}

/** What `docker network create` does to FORWARD: its own before whatever was put there, and DOCKER-USER before that. */
export const DOCKER_PUTS_ITSELF_FIRST = `*filter
-D FORWARD -j DOCKER-ISOLATION-STAGE-1
-I FORWARD 1 -j DOCKER-ISOLATION-STAGE-1
-D FORWARD -j DOCKER-USER
-I FORWARD 1 -j DOCKER-USER
COMMIT
`;

/** firewalld with its iptables backend and the zone public, in which only ssh and ping are open; it refuses what it does not know. */
export const FIREWALLD_RULES = `*filter
:INPUT DROP [0:0]
:INPUT_direct - [0:0]
:INPUT_ZONES - [0:0]
:IN_public - [0:0]
:IN_public_allow - [0:0]
:FORWARD_direct - [0:0]
:FORWARD_IN_ZONES - [0:0]
:FWDI_public - [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -j INPUT_direct
-A INPUT -j INPUT_ZONES
-A INPUT -m conntrack --ctstate INVALID -j DROP
-A INPUT -j REJECT --reject-with icmp-host-prohibited
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT
-A FORWARD -i lo -j ACCEPT
-A FORWARD -j FORWARD_direct
-A FORWARD -j FORWARD_IN_ZONES
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A FORWARD -j REJECT --reject-with icmp-host-prohibited
-A INPUT_ZONES -i eth0 -g IN_public
-A INPUT_ZONES -g IN_public
-A IN_public -j IN_public_allow
-A IN_public -p icmp -j ACCEPT
-A IN_public_allow -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW,UNTRACKED -j ACCEPT
-A FORWARD_IN_ZONES -i eth0 -g FWDI_public
-A FORWARD_IN_ZONES -g FWDI_public
-A FWDI_public -p icmp -j ACCEPT
COMMIT
`;
