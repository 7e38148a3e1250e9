import { AppError, type Cause } from "#proto/error.ts";
import { MANAGED_BY_LABEL, MANAGED_BY_US, type EndpointSlice } from "#proto/endpoint-slice.ts";
import { refused } from "./refused.ts";
import { virtualAddressFault, type Ranges } from "./ranges.ts";

/** Slices made by hand: real addresses only, and not in the controller's name. */
export function admitSlice(previous: EndpointSlice | undefined, next: EndpointSlice, ranges: Ranges, known: readonly Cause[]): void {
  if ([previous, next].some((slice) => slice?.metadata.labels?.[MANAGED_BY_LABEL] === MANAGED_BY_US))
    throw new AppError(
      "Forbidden",
      `endpointslices.discovery.k8s.io "${next.metadata.name}" is forbidden: slices with the label ${MANAGED_BY_LABEL}=${MANAGED_BY_US} follow from the service's selector and are written by the server alone`,
      {
        subject: { name: next.metadata.name, group: "discovery.k8s.io", kind: "endpointslices" },
        hint: "change the workloads' labels or the selector; for endpoints of your own, make a service without a selector",
      },
    );
  const found = next.endpoints.flatMap(({ addresses }, i) =>
    addresses.flatMap((address, j) => virtualAddressFault(ranges, `endpoints[${i}].addresses[${j}]`, address) ?? []),
  );
  const faults = [...known, ...found];
  if (faults.length > 0) throw refused("EndpointSlice", next, faults, known);
}
