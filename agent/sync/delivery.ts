import type { ClusterState, Touched } from "./state.ts";

/** Hands what was heard to those who follow the state. What one of them failed over is handed out again, with everything else. */
export interface Delivery {
  /** Throws what `follow` throws. */
  deliver(touched: Touched): void;
  /** Something was heard that not everybody has followed. */
  isOwed(): boolean;
}

export function createDelivery(state: ClusterState, follow: (touched: Touched) => void): Delivery {
  let owed: Touched | undefined;
  return {
    deliver(touched) {
      owed = owed ? everything(state, owed, touched) : touched;
      follow(owed);
      owed = undefined;
    },
    isOwed: () => owed !== undefined,
  };
}

/** All there is, and what there was: who was interrupted may know of things that are gone. */
function everything(state: ClusterState, owed: Touched, touched: Touched): Touched {
  return {
    revision: touched.revision,
    all: true,
    services: new Set([...state.services.keys(), ...owed.services, ...touched.services]),
    namespaces: new Set([...state.namespaces.keys(), ...owed.namespaces, ...touched.namespaces]),
    nodes: new Set([...state.nodes.keys(), ...owed.nodes, ...touched.nodes]),
    ownWorkloads: new Set([...state.ownWorkloads.keys(), ...owed.ownWorkloads, ...touched.ownWorkloads]),
  };
}
