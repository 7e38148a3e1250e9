import type { KubeObject } from "./reflector.ts";

/** What CoreDNS' kubernetes plugin (1.12) answers, from what it hears: plugin/kubernetes/{kubernetes,controller}.go, written anew from the reading. Pure. */

interface ServiceFields {
  readonly type?: string;
  readonly clusterIP?: string;
  readonly clusterIPs?: readonly string[];
  readonly externalName?: string;
  readonly ports?: readonly { readonly name?: string; readonly protocol?: string; readonly port: number }[];
}
interface SliceFields {
  readonly endpoints: readonly {
    readonly addresses: readonly string[];
    readonly hostname?: string;
    readonly conditions?: { readonly ready?: boolean };
  }[];
  readonly ports: readonly { readonly name?: string; readonly protocol?: string; readonly port?: number }[];
}

/** `web.default.svc.cluster.local A 10.96.0.20`, sorted; of SRV without priority and weight. */
export function answered(services: Iterable<KubeObject>, slices: Iterable<KubeObject>, domain: string): readonly string[] {
  const byService = Map.groupBy(slices, ({ metadata }) => `${metadata.namespace}/${metadata.labels?.["kubernetes.io/service-name"]}`);
  const records = new Set<string>();
  for (const { metadata, spec } of services) {
    const fields = spec as ServiceFields;
    const name = `${metadata.name}.${metadata.namespace}.svc.${domain}`;
    const add = (at: string, type: string, value: string | number): void => void records.add(`${at} ${type} ${value}`);
    const own = byService.get(`${metadata.namespace}/${metadata.name}`) ?? [];
    if (fields.type === "ExternalName") add(name, "CNAME", fields.externalName ?? "");
    else if (fields.clusterIP === "None") for (const slice of own) ofEndpoints(name, slice as unknown as SliceFields, add);
    else {
      for (const slice of own)
        ofEndpoints(name, { ...(slice as unknown as SliceFields), ports: [] }, (at, type, value) => at !== name && add(at, type, value));
      for (const ip of fields.clusterIPs ?? []) {
        add(name, typeOf(ip), ip);
        for (const { name: portName = "", protocol = "TCP", port } of fields.ports ?? [])
          if (portName !== "") add(`_${portName}._${protocol.toLowerCase()}.${name}`, "SRV", `${port} ${name}`);
      }
    }
  }
  return [...records].toSorted();
}

type Add = (at: string, type: string, value: string | number) => unknown;

function ofEndpoints(name: string, { endpoints, ports }: SliceFields, add: Add): void {
  for (const { addresses, hostname, conditions } of endpoints) {
    if (conditions?.ready === false) continue;
    for (const address of addresses) {
      const own = `${hostname ?? address.replaceAll(/[.:]/g, "-")}.${name}`;
      add(name, typeOf(address), address);
      add(own, typeOf(address), address);
      for (const { name: portName = "", protocol = "TCP", port = 0 } of ports)
        if (portName !== "") add(`_${portName}._${protocol.toLowerCase()}.${name}`, "SRV", `${port} ${own}`);
    }
  }
}

function typeOf(ip: string): string {
  return ip.includes(":") ? "AAAA" : "A";
}
