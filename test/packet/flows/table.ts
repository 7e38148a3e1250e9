import type { Flow, Setting } from "./flow.ts";
import { clusterIpFlows } from "./cluster-ip.ts";
import { endpointFlows } from "./endpoints.ts";
import type { Row } from "./names.ts";
import { externalIpFlows, loadBalancerFlows, nodePortFlows, sourceRangeFlows } from "./outside.ts";
import { externalPolicyFlows, internalPolicyFlows } from "./policies.ts";
import { portFlows } from "./ports.ts";
import { aloneFlows, pingFlows, refusalFlows, sameLeafFlows } from "./refusals.ts";
import { settingFlows } from "./settings.ts";
import { shareFlows } from "./shares.ts";
import { topologyFlows } from "./topology.ts";

/**
 * The flow table: who sends what, who must get it. Each row is a sentence of the specification; every driver must agree with it, for IPv4 and
 * IPv6, in memory (test/packet/conformance.test.ts) and in the kernel (test/e2e/flows*.e2e.test.ts). A row goes through the real compile.
 */
const FLOWS: readonly Flow[] = [
  ...clusterIpFlows,
  ...portFlows,
  ...endpointFlows,
  ...shareFlows,
  ...internalPolicyFlows,
  ...externalPolicyFlows,
  ...nodePortFlows,
  ...loadBalancerFlows,
  ...sourceRangeFlows,
  ...externalIpFlows,
  ...refusalFlows,
  ...sameLeafFlows,
  ...pingFlows,
  ...aloneFlows,
  ...topologyFlows,
  ...settingFlows,
];

export const rows: readonly Row[] = FLOWS.map((flow, index) => ({ ...flow, index }));

/** Rows that can share a forwarding table. */
export const rowsBySetting: ReadonlyMap<Setting, readonly Row[]> = Map.groupBy(rows, ({ setting = "plain" }) => setting);
