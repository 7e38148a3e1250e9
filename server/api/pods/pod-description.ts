import { z } from "zod";
import { API_VERSION_TEXT, Condition, KIND_TEXT, ObjectMeta } from "#proto/meta.ts";

/** What a Pod made of a Workload (pod.ts) has, for `kubectl explain`. Nobody writes one, so nothing is validated by it. */

const ContainerPort = z.looseObject({
  name: z.string().optional().describe("The port's name in the Workload."),
  containerPort: z.int().describe("The port at which the Workload listens."),
  protocol: z.string().describe("TCP, UDP or SCTP."),
});

const Container = z.looseObject({
  name: z.string().describe("The Workload's name."),
  image: z.string().describe("Always not-a-container: a Workload has no image."),
  ports: z.array(ContainerPort).describe("The Workload's ports."),
  resources: z.looseObject({}).describe("Always empty."),
});

const ContainerStatus = z.looseObject({
  name: z.string().describe("The Workload's name."),
  ready: z.boolean().describe("Whether the Workload is ready."),
  restartCount: z.int().describe("Always 0: Fairlead starts nothing."),
  image: z.string().describe("Always not-a-container."),
  imageID: z.string().describe("Always empty."),
  state: z
    .looseObject({
      running: z
        .looseObject({ startedAt: z.string().optional().describe("When the Workload was registered, RFC 3339.") })
        .describe("That it runs."),
    })
    .describe("Always running."),
});

export const PodDescription = z
  .looseObject({
    apiVersion: z.literal("v1").describe(API_VERSION_TEXT),
    kind: z.literal("Pod").describe(KIND_TEXT),
    metadata: ObjectMeta.describe("The Workload's metadata."),
    spec: z
      .looseObject({
        nodeName: z.string().describe("The Node that the Workload runs on."),
        containers: z.array(Container).describe("One, with the Workload's name and ports."),
        terminationGracePeriodSeconds: z.int().describe("How long the Workload stays after it was deleted, in seconds."),
      })
      .describe("What the Workload's spec says."),
    status: z
      .looseObject({
        phase: z.string().describe("Always Running."),
        conditions: z.array(Condition).describe("PodScheduled, and Ready and ContainersReady as the Workload is ready."),
        hostIP: z.string().optional().describe("The first address of its Node."),
        podIP: z.string().optional().describe("The Workload's address."),
        podIPs: z.array(z.looseObject({ ip: z.string().describe("The address.") })).describe("The Workload's address as a list."),
        startTime: z.string().optional().describe("When the Workload was registered, RFC 3339."),
        containerStatuses: z.array(ContainerStatus).describe("One, for the one container."),
      })
      .describe("How the Workload is."),
  })
  .describe("A Workload, to be read as a Pod.");
