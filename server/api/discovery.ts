import { z } from "zod";
import { apiVersionOf, kindNames, kinds } from "#proto/kinds.ts";
import { derivedKinds } from "./derived-kinds.ts";
import type { DerivedKind } from "./view.ts";
import { notFoundPath } from "./error-reply.ts";
import { declareRoute, type App } from "./route.ts";

/** What kinds there are, in the two forms that Kubernetes' clients ask for: all at once (chosen by Accept), and one group at a time. */

const VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const STATUS_VERBS = ["get", "patch", "update"];
const AGGREGATED = /application\/json;[^,]*\bg=apidiscovery\.k8s\.io;v=(v2|v2beta1);as=APIGroupDiscoveryList/;

type DiscoveredKind = Omit<DerivedKind, "verbs"> & Partial<Pick<DerivedKind, "verbs">>;
const allKinds: readonly DiscoveredKind[] = [...kindNames.map((name) => kinds[name]), ...derivedKinds];
const groups = [...new Set(allKinds.map(({ group }) => group))].filter((group) => group !== "").toSorted();

export function discoveryRoutes(app: App): void {
  const root = (path: string, wanted: readonly string[], legacy: object): void =>
    declareRoute(app, {
      method: "GET",
      path,
      summary: "Groups of kinds",
      permission: { access: "authenticated" },
      answer: z.looseObject({ kind: z.string() }),
      handler: ({ request, reply }) => {
        const version = AGGREGATED.exec(request.headers.accept ?? "")?.[1];
        void reply.header("Vary", "Accept");
        if (version === undefined) return legacy;
        // The client tells the two forms apart by exactly this.
        void reply.type(`application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`);
        return JSON.stringify(aggregated(version, wanted));
      },
    });
  root("/api", [""], { kind: "APIVersions", versions: ["v1"], serverAddressByClientCIDRs: [] });
  root("/apis", groups, { kind: "APIGroupList", apiVersion: "v1", groups: groups.map(legacyGroup) });
  declareRoute(app, {
    method: "GET",
    path: "/apis/:group",
    summary: "One group",
    permission: { access: "authenticated" },
    answer: z.looseObject({ kind: z.string() }),
    handler: ({ params: { group = "" } }) => {
      if (!groups.includes(group)) throw notFoundPath();
      return { kind: "APIGroup", apiVersion: "v1", ...legacyGroup(group) };
    },
  });
  for (const group of ["", ...groups])
    declareRoute(app, {
      method: "GET",
      path: group === "" ? "/api/v1" : `/apis/${group}/v1`,
      summary: "Kinds of a group",
      permission: { access: "authenticated" },
      answer: z.looseObject({ kind: z.string() }),
      handler: () => legacyResources(group),
    });
}

function aggregated(version: string, wanted: readonly string[]): object {
  const items = wanted.map((group) => ({
    metadata: group === "" ? {} : { name: group },
    versions: [
      { version: "v1", freshness: "Current", resources: allKinds.filter((facts) => facts.group === group).map(aggregatedResource) },
    ],
  }));
  return { kind: "APIGroupDiscoveryList", apiVersion: `apidiscovery.k8s.io/${version}`, metadata: {}, items };
}

function aggregatedResource(facts: DiscoveredKind): object {
  const { group, version, kind, plural, singular, namespaced, hasStatus } = facts;
  const responseKind = { group, version, kind };
  return {
    resource: plural,
    responseKind,
    scope: namespaced ? "Namespaced" : "Cluster",
    singularResource: singular,
    verbs: verbsOf(facts),
    ...namesOf(facts),
    ...(hasStatus && { subresources: [{ subresource: "status", responseKind, verbs: STATUS_VERBS }] }),
  };
}

function legacyGroup(name: string): object {
  const version = { groupVersion: `${name}/v1`, version: "v1" };
  return { name, versions: [version], preferredVersion: version };
}

function legacyResources(group: string): object {
  const resources = allKinds
    .filter((facts) => facts.group === group)
    .flatMap((facts) => {
      const { plural: name, singular: singularName, namespaced, kind, hasStatus } = facts;
      const main = { name, singularName, namespaced, kind, verbs: verbsOf(facts), ...namesOf(facts) };
      return hasStatus ? [main, { name: `${name}/status`, singularName: "", namespaced, kind, verbs: STATUS_VERBS }] : [main];
    });
  return { kind: "APIResourceList", apiVersion: "v1", groupVersion: apiVersionOf({ group, version: "v1" }), resources };
}

function verbsOf({ kind, verbs }: DiscoveredKind): readonly string[] {
  if (verbs) return verbs;
  return kind === "Namespace" ? VERBS.filter((verb) => verb !== "deletecollection") : VERBS;
}

function namesOf({ shortNames, categories }: DiscoveredKind): object {
  return { ...(shortNames.length > 0 && { shortNames }), ...(categories.length > 0 && { categories }) };
}
