import { z } from "zod";
import { kindNames, kinds, type KindFacts, type KindName } from "#proto/kinds.ts";
import type { Identity, Verb } from "#server/trust/identity.ts";
import { isAllowed, userNameOf } from "./authorize.ts";
import { derivedKinds } from "./derived-kinds.ts";
import { jsonOrProtobuf } from "./json-body.ts";
import { declareRoute, type App } from "./route.ts";

/**
 * Who am I, and what may I do: `kubectl auth whoami` and `auth can-i` (authentication.k8s.io/v1 and authorization.k8s.io/v1). Nothing is stored. The answers come
 * from the same function that guards the routes.
 */

const AccessReview = z.looseObject({
  spec: z.looseObject({
    resourceAttributes: z
      .looseObject({
        namespace: z.string().optional(),
        verb: z.string().optional(),
        group: z.string().optional(),
        resource: z.string().optional(),
        subresource: z.string().optional(),
        name: z.string().optional(),
      })
      .optional(),
    nonResourceAttributes: z.looseObject({ path: z.string().optional(), verb: z.string().optional() }).optional(),
  }),
});
type AccessReview = z.output<typeof AccessReview>;
const AnyReview = z.looseObject({}).optional();

export function reviewRoutes(app: App): void {
  const review = <Body>(
    path: string,
    summary: string,
    body: z.ZodType<Body>,
    statusOf: (identity: Identity, body: Body) => object,
  ): void => {
    const [, , group = "", version = ""] = path.split("/");
    declareRoute(app, {
      method: "POST",
      path,
      summary,
      permission: { access: "authenticated" },
      accepts: jsonOrProtobuf,
      body,
      answer: z.looseObject({ status: z.looseObject({}) }),
      handler: ({ body: sent, reply }, identity) => {
        void reply.code(201);
        return { ...sent, apiVersion: `${group}/${version}`, status: statusOf(identity, sent) };
      },
    });
  };
  review("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "Whether the caller may do something", AccessReview, accessOf);
  review("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", "What the caller may do", AnyReview, rulesOf);
  review("/apis/authentication.k8s.io/v1/selfsubjectreviews", "Who the caller is", AnyReview, (identity) => ({
    userInfo: userOf(identity),
  }));
}

function accessOf(identity: Identity, { spec }: AccessReview): object {
  const wanted = spec.resourceAttributes;
  if (wanted?.verb === "impersonate") return { allowed: false, reason: "nobody acts as somebody else here" };
  // Whatever else there is, the administrator may do.
  if (identity.kind === "admin") return { allowed: true };
  if (!wanted) return { allowed: spec.nonResourceAttributes?.verb === "get" };
  const kind = kindOfResource(wanted.group ?? "", wanted.resource ?? "", wanted.verb);
  const verb = VERBS.find((one) => one === wanted.verb);
  if (kind === undefined || verb === undefined) return { allowed: false, reason: "there is no such verb or resource here" };
  const { subresource = "" } = wanted;
  if (subresource !== "" && subresource !== "status") return { allowed: false, reason: "there is no such subresource here" };
  const params = { ...(wanted.name !== undefined && { name: wanted.name }) };
  return { allowed: isAllowed(identity, { access: "resource", kind, verb, ...(subresource === "status" && { subresource }) }, { params }) };
}

/** Stands for kinds that every host may read. */
const READ_BY_ALL: KindName = "Service";
const VERBS: readonly Verb[] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

function kindOfResource(group: string, plural: string, verb: string | undefined): KindName | undefined {
  const derived = derivedKinds.find((facts) => facts.group === group && facts.plural === plural);
  if (derived) return derived.verbs.includes(verb ?? "") ? (derived.of ?? READ_BY_ALL) : undefined;
  return kindNames.find((name) => {
    const facts: KindFacts = kinds[name];
    return facts.group === group && facts.plural === plural;
  });
}

function rulesOf(identity: Identity): object {
  if (identity.kind === "admin")
    return {
      resourceRules: [{ verbs: ["*"], apiGroups: ["*"], resources: ["*"] }],
      nonResourceRules: [{ verbs: ["*"], nonResourceURLs: ["*"] }],
      incomplete: false,
    };
  const facts = [...kindNames.map((name) => ({ ...kinds[name], of: name, verbs: VERBS })), ...derivedKinds];
  const resourceRules = facts.flatMap(({ group, plural, verbs: known, of: kind = READ_BY_ALL }) => {
    const may = (name: string | undefined): Verb[] =>
      VERBS.filter(
        (verb) =>
          known.includes(verb) &&
          isAllowed(identity, { access: "resource", kind, verb }, { params: { ...(name !== undefined && { name }) } }),
      );
    const everywhere = may(undefined);
    const own = identity.kind === "node" ? may(identity.name).filter((verb) => !everywhere.includes(verb)) : [];
    const rule = (verbs: readonly Verb[], names: object): object => ({ verbs, apiGroups: [group], resources: [plural], ...names });
    return [
      ...(everywhere.length > 0 ? [rule(everywhere, {})] : []),
      ...(own.length > 0 ? [rule(own, { resourceNames: [userNodeOf(identity)] })] : []),
    ];
  });
  return { resourceRules, nonResourceRules: [{ verbs: ["get"], nonResourceURLs: ["*"] }], incomplete: false };
}

function userNodeOf(identity: Identity): string {
  return identity.kind === "node" ? identity.name : "";
}

function userOf(identity: Identity): object {
  const groups = identity.kind === "admin" ? ["system:masters"] : identity.kind === "node" ? ["system:nodes"] : ["system:bootstrappers"];
  return { username: userNameOf(identity), groups: [...groups, "system:authenticated"] };
}
