/** Devices, and invitations that make them known. */
import type { Device } from "../../database/types.js";
import type { Services } from "../api.js";
import { administrators } from "../guard.js";
import { type Api, answer, body, createRoute, nothing, problems, SECURITY, z } from "../router.js";
import {
  CreatedInvitation,
  DeviceChange,
  DeviceSchema,
  FolderParam,
  IdParam,
  InvitationSchema,
  NewGrant,
  NewInvitation,
} from "../schemas.js";
import { grantViews, invitationView } from "../views.js";

const shared = { tags: ["devices"], security: SECURITY };

const listDevices = createRoute({
  ...shared,
  method: "get",
  path: "/api/v1/devices",
  summary: "All devices, revoked ones too",
  responses: { 200: answer("By name.", z.object({ items: z.array(DeviceSchema) })), ...problems(401, 403) },
});

const revokeDevice = createRoute({
  ...shared,
  method: "delete",
  path: "/api/v1/devices/{id}",
  summary: "Revoke a device; its connections end at once",
  request: { params: IdParam },
  responses: { 204: nothing, ...problems(401, 403, 404) },
});

const changeDevice = createRoute({
  ...shared,
  method: "patch",
  path: "/api/v1/devices/{id}",
  summary: "Give a device another name",
  request: { params: IdParam, body: body(DeviceChange) },
  responses: { 200: answer("The device.", DeviceSchema), ...problems(400, 401, 403, 404) },
});

const grantDevice = createRoute({
  ...shared,
  method: "put",
  path: "/api/v1/devices/{id}/folders/{folder}",
  summary: "Let a device read or write a folder",
  request: { params: IdParam.extend(FolderParam.shape), body: body(NewGrant) },
  responses: { 204: nothing, ...problems(400, 401, 403, 404) },
});

const ungrantDevice = createRoute({
  ...shared,
  method: "delete",
  path: "/api/v1/devices/{id}/folders/{folder}",
  summary: "Take a folder from a device",
  request: { params: IdParam.extend(FolderParam.shape) },
  responses: { 204: nothing, ...problems(400, 401, 403, 404) },
});

const listInvitations = createRoute({
  ...shared,
  method: "get",
  path: "/api/v1/invitations",
  summary: "All invitations; used, withdrawn and expired ones too while they are kept",
  responses: { 200: answer("Newest first.", z.object({ items: z.array(InvitationSchema) })), ...problems(401, 403) },
});

const invite = createRoute({
  ...shared,
  method: "post",
  path: "/api/v1/invitations",
  summary: "Invite a device",
  request: { body: body(NewInvitation) },
  responses: { 201: answer("The invitation.", CreatedInvitation), ...problems(400, 401, 403) },
});

const withdraw = createRoute({
  ...shared,
  method: "delete",
  path: "/api/v1/invitations/{id}",
  summary: "Withdraw an invitation: its code is of no use any more",
  request: { params: IdParam },
  responses: { 204: nothing, ...problems(401, 403, 404) },
});

export function addDevices(app: Api, services: Services): void {
  const { auth, database, mirrors, pairingAddress } = services;
  app.use("/api/v1/devices/*", administrators());
  const views = (devices: readonly Device[]) => {
    const connected = new Set(mirrors.sessions().map(({ device }) => device));
    const view = async (device: Device) => {
      const folders = grantViews(await database.grants.of("device", device.id));
      return { ...device, folders, connected: connected.has(device.id) };
    };
    return Promise.all(devices.map(view));
  };
  app.openapi(listDevices, async (c) => c.json({ items: await views(await auth.devices(c.get("who"))) }, 200));
  app.openapi(changeDevice, async (c) => {
    const { name } = c.req.valid("json");
    const [device] = await views([await auth.renameDevice(c.get("who"), c.req.valid("param").id, name)]);
    return c.json(device as NonNullable<typeof device>, 200);
  });
  app.openapi(revokeDevice, async (c) => {
    await auth.revoke(c.get("who"), c.req.valid("param").id);
    return c.body(null, 204);
  });

  app.openapi(grantDevice, async (c) => {
    const { id, folder } = c.req.valid("param");
    await auth.grant(c.get("who"), { subject: "device", of: id, folder, access: c.req.valid("json").access });
    return c.body(null, 204);
  });
  app.openapi(ungrantDevice, async (c) => {
    const { id, folder } = c.req.valid("param");
    await auth.grant(c.get("who"), { subject: "device", of: id, folder, access: null });
    return c.body(null, 204);
  });

  app.use("/api/v1/invitations/*", administrators());
  app.openapi(listInvitations, async (c) => {
    return c.json({ items: (await auth.invitations(c.get("who"))).map(invitationView) }, 200);
  });
  app.openapi(invite, async (c) => {
    const { folder, access, expiresIn } = c.req.valid("json");
    const made = await auth.invite(c.get("who"), { folder, access, expiresInMs: expiresIn * 1000 });
    c.header("Cache-Control", "no-store");
    const address = pairingAddress(folder, made.code);
    return c.json({ invitation: invitationView(made.invitation), address }, 201);
  });
  app.openapi(withdraw, async (c) => {
    await auth.withdraw(c.get("who"), c.req.valid("param").id);
    return c.body(null, 204);
  });
}
