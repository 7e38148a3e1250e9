import type { ForwardingTable } from "#agent/compile/table.ts";
import type { IpFamily } from "#proto/ip.ts";

/** A table is rendered once for each family, however many packets are walked through it. */
export function oncePerTable<Rendered>(
  render: (table: ForwardingTable, family: IpFamily) => Rendered,
): (table: ForwardingTable, family: IpFamily) => Rendered {
  const rendered = { IPv4: new WeakMap<ForwardingTable, Rendered>(), IPv6: new WeakMap<ForwardingTable, Rendered>() };
  return (table, family) => {
    const known = rendered[family].get(table) ?? render(table, family);
    rendered[family].set(table, known);
    return known;
  };
}
