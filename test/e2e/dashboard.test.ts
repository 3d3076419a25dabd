/** The dashboard in a real browser, over a real server with a real client. CONFUNDO_SCREENSHOTS=docs/images keeps pictures. */
import fs from "node:fs";
import path from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect } from "vitest";
import { hasBrowser, openBrowser } from "../support/browser.js";
import { type Program, type Rig, test, until } from "../support/program.js";

const FOLDER = "photos";

if (hasBrowser()) {
  describe("the dashboard", () => {
    let browser: Browser;
    beforeAll(async () => {
      browser = await openBrowser();
    });
    afterAll(() => browser.close());

    test("log in, watch a file arrive, restore an old version, revoke a device", async ({ rig }) => {
      const { home, source, client, url, password } = await start(rig);
      const { page, complaints } = await openPage(browser, url);

      await logIn(page, "wrong password");
      await page.getByRole("alert").filter({ hasText: "password" }).waitFor();
      await logIn(page, password);
      await page.getByRole("row", { name: FOLDER }).getByText("in step").waitFor();
      await picture(page, "folders");

      // A file arrives while we look at the folder.
      await page.getByRole("link", { name: FOLDER }).click();
      await page.getByRole("row", { name: "summer.txt" }).waitFor();
      fs.writeFileSync(path.join(source, "autumn.txt"), "leaves");
      await page.getByRole("row", { name: "autumn.txt" }).waitFor();
      await picture(page, "files");
      const download = page.waitForEvent("download");
      await page.getByRole("link", { name: "autumn.txt", exact: true }).click();
      expect(fs.readFileSync(await (await download).path(), "utf8")).toBe("leaves");

      // It is overwritten, and what it was comes back.
      fs.writeFileSync(path.join(source, "autumn.txt"), "encrypted by malware");
      await page.getByRole("link", { name: "Versions of autumn.txt" }).click();
      await page.getByRole("button", { name: "Restore version 1 of autumn.txt" }).click();
      await page.getByRole("dialog").getByRole("button", { name: "Restore" }).click();
      await page.getByText("autumn.txt is restored").waitFor();
      expect(fs.readFileSync(path.join(home, FOLDER, "autumn.txt"), "utf8")).toBe("leaves");
      await picture(page, "versions");

      await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name: "Folders" }).click();
      await page.getByRole("button", { name: `Resume ${FOLDER}` }).click();
      await page.getByRole("dialog").getByRole("button", { name: "Resume" }).click();
      await page.getByRole("row", { name: FOLDER }).getByText("in step").waitFor();

      await page.getByRole("link", { name: "Transfers" }).click();
      await page.getByRole("img", { name: "Congestion window over the last minutes" }).waitFor();
      await picture(page, "transfers");

      await page.getByRole("link", { name: "Devices" }).click();
      await page.getByRole("button", { name: /^Revoke / }).click();
      await page.getByRole("dialog").getByRole("button", { name: "Revoke" }).click();
      await page.getByText("is revoked.").waitFor();
      await picture(page, "devices");
      expect((await client.exited).stderr).toMatch(/^ERROR: .*(revoked|ERR_)/m);

      await page.getByRole("link", { name: "Audit" }).click();
      await page.getByRole("row", { name: "device.revoke" }).waitFor();
      expect(complaints).toEqual([]);
    });

    test("an invitation is shown as a command and as a QR code, once", async ({ rig }) => {
      const { url, password, port } = await start(rig);
      const { page, complaints } = await openPage(browser, url, { width: 390, height: 844, dark: true });
      await logIn(page, password);
      await page.getByRole("link", { name: "Devices" }).click();
      await page.getByRole("button", { name: "Invite a device" }).click();
      await page.getByLabel("Folder").fill("holidays");
      await page.getByRole("button", { name: "Make the address" }).click();
      const address = await page.getByRole("dialog").locator("pre").innerText();
      expect(address).toMatch(new RegExp(`^confundo mirror FOLDER 'confundo://[^/]+:${port}/holidays#[\\w-]+'$`));
      await page.getByRole("img", { name: "QR code" }).waitFor();
      await picture(page, "invitation-phone");
      await page.keyboard.press("Escape");
      await page.getByRole("row", { name: "holidays" }).getByText("not yet").waitFor();

      const guest = rig.folder();
      fs.writeFileSync(path.join(guest, "beach.txt"), "sand");
      const [, pairing = ""] = /'(.*)'/.exec(address) ?? [];
      const state = { XDG_STATE_HOME: rig.folder() };
      expect(await rig.run(["mirror", "--once", guest, pairing], { env: state })).toMatchObject({ code: 0 });
      await page.getByRole("row", { name: "holidays" }).getByText("not yet").waitFor({ state: "detached" });
      expect(complaints).toEqual([]);
    });

    test("a folder is deleted and restored, a device renamed, an invitation withdrawn, one's password changed", async ({
      rig,
    }) => {
      const { home, source, client, url, password } = await start(rig);
      const deceives = "evil\u202egpj.exe";
      fs.writeFileSync(path.join(source, deceives), "MZ");
      fs.writeFileSync(path.join(source, "two\nlines.txt"), "one, two");
      await until(() => fs.existsSync(path.join(home, FOLDER, "two\nlines.txt")));
      const { page, complaints } = await openPage(browser, url);
      await logIn(page, password);

      // Names that deceive are seen for what they are, and name what they are when they are downloaded.
      await page.getByRole("link", { name: FOLDER }).click();
      const row = page.getByRole("row", { name: "evilU+202Egpj.exe" });
      await row.waitFor();
      await picture(page, "names");
      const download = page.waitForEvent("download");
      await page.getByRole("link", { name: "twoU+000Alines.txt" }).click();
      expect(fs.readFileSync(await (await download).path(), "utf8")).toBe("one, two");
      await page.getByRole("link", { name: "Versions of evil<U+202E>gpj.exe" }).click();
      await page.getByText("Nothing has been replaced or deleted here").waitFor();

      const pages = page.getByRole("navigation", { name: "Pages" });
      await pages.getByRole("link", { name: "Devices" }).click();
      await page.getByRole("button", { name: /^Rename / }).click();
      await page.getByRole("dialog").getByLabel("Name").fill("laptop of Ann");
      await page.getByRole("dialog").getByRole("button", { name: "Rename" }).click();
      await page.getByRole("row", { name: "laptop of Ann" }).waitFor();
      await page.getByRole("button", { name: /^Withdraw the invitation/ }).click();
      await page.getByRole("dialog").getByRole("button", { name: "Withdraw" }).click();
      await page.getByRole("row", { name: "withdrawn" }).waitFor();

      await pages.getByRole("link", { name: "Folders" }).click();
      await page.getByRole("button", { name: `Delete ${FOLDER}` }).click();
      await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
      await page.getByText("There is no folder yet.").waitFor();
      expect((await client.exited).stderr).toMatch(/ERR_FOLDER_DELETED/);
      await page.getByRole("button", { name: `Restore ${FOLDER}` }).waitFor();
      await picture(page, "deleted");
      await page.getByRole("button", { name: `Restore ${FOLDER}` }).click();
      await page.getByRole("link", { name: FOLDER }).waitFor();
      expect(fs.readFileSync(path.join(home, FOLDER, "summer.txt"), "utf8")).toBe("sun");

      await pages.getByRole("link", { name: "Users" }).click();
      await page.getByRole("button", { name: "Change the password of admin" }).click();
      const dialog = page.getByRole("dialog");
      await dialog.getByLabel("The old password").fill("not this one");
      await dialog.getByLabel("Password", { exact: true }).fill("a long new password");
      await dialog.getByRole("button", { name: "Change it" }).click();
      await page
        .getByRole("alert")
        .filter({ hasText: /old password is wrong\.$/ })
        .waitFor();
      await dialog.getByLabel("The old password").fill(password);
      await dialog.getByRole("button", { name: "Change it" }).click();
      await page.getByRole("button", { name: "Log in" }).waitFor();
      await logIn(page, "a long new password");
      await page.getByRole("heading", { name: "Users" }).waitFor();

      await pages.getByRole("link", { name: "Audit" }).click();
      await page.getByRole("row", { name: "folder.undelete" }).waitFor();
      expect(complaints.filter((text) => !text.includes("403"))).toEqual([]);
    });

    test("over HTTPS the session is kept in a cookie that only this host can set", async ({ rig }) => {
      const { server } = await rig.serve(rig.folder(), "0", "--http", "0.0.0.0:0");
      const [, port = ""] = await server.printed(/dashboard: https:\/\/\S+:(\d+)\/\n/);
      const [, password = ""] = await server.printed(/password: (\S+)\n/);
      const context = await browser.newContext({ ignoreHTTPSErrors: true });
      const page = await context.newPage();
      await page.goto(`https://127.0.0.1:${port}/`);
      await logIn(page, password);
      await page.getByRole("heading", { name: "Folders" }).waitFor();
      const session = { name: "__Host-confundo_session", path: "/", secure: true, httpOnly: true, sameSite: "Strict" };
      expect(await context.cookies()).toMatchObject([session]);
      await page.reload();
      await page.getByRole("heading", { name: "Folders" }).waitFor();
      await page.getByRole("button", { name: "Log out" }).click();
      await page.getByRole("button", { name: "Log in" }).waitFor();
      expect(await context.cookies()).toEqual([]);
    });

    test("the keyboard reaches everything, and what is reached is named", async ({ rig }) => {
      const { url, password } = await start(rig);
      const { page, complaints } = await openPage(browser, url);
      await page.getByLabel("Name").focus();
      await page.keyboard.type("admin");
      await page.keyboard.press("Tab");
      await page.keyboard.type(password);
      await page.keyboard.press("Enter");
      await page.getByRole("heading", { name: "Folders" }).waitFor();
      const names: string[] = [];
      for (let step = 0; step < 30 && names.at(-1) !== FOLDER; step++) {
        await page.keyboard.press("Tab");
        names.push(await page.evaluate(() => nameOf(document.activeElement)));
      }
      const expected = [
        "Skip to the content",
        "Confundo",
        "Folders",
        "Transfers",
        "Devices",
        "Users",
        "Audit",
        "Log out",
      ];
      expect(names).toEqual([...expected, "New folder", "Invite a device", FOLDER]);
      await page.keyboard.press("Enter");
      await page.getByRole("link", { name: "summer.txt", exact: true }).waitFor();
      await page.getByRole("button", { name: "Log out" }).click();
      await page.getByRole("button", { name: "Log in" }).waitFor();
      expect(complaints).toEqual([]);
    });
  });
}

/** A server with a dashboard, and a client that mirrors a folder to it. */
async function start(rig: Rig) {
  const [home, source] = [rig.folder(), rig.folder()];
  fs.writeFileSync(path.join(source, "summer.txt"), "sun");
  const { server, port } = await rig.serve(home, "0", "--http", "127.0.0.1:0");
  const [, url = ""] = await server.printed(/dashboard: (\S+)\n/);
  const [, password = ""] = await server.printed(/password: (\S+)\n/);
  const client: Program = rig.start(["mirror", source, `confundo://127.0.0.1:${port}/${FOLDER}`]);
  await until(() => fs.existsSync(path.join(home, FOLDER, "summer.txt")));
  return { home, source, client, url, password, port };
}

interface View {
  readonly width: number;
  readonly height: number;
  readonly dark?: boolean;
}

/** What the browser complains of is gathered: scripts that fail, and what the content security policy forbids. */
async function openPage(browser: Browser, url: string, view: View = { width: 1200, height: 800 }) {
  const { width, height, dark = false } = view;
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: dark ? "dark" : "light" });
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    // Before the login, the server says 401, as it should.
    if (message.type() === "error" && !message.text().includes("401")) complaints.push(message.text());
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith("blob:")) complaints.push(request.url());
  });
  await page.addInitScript(() => {
    Object.assign(globalThis, {
      nameOf: (element: { ariaLabel: string | null; textContent: string | null } | null) =>
        (element?.ariaLabel ?? element?.textContent ?? "").trim(),
    });
  });
  await page.goto(url);
  return { page, complaints };
}

/** In the page, by {@link openPage}. */
declare function nameOf(element: unknown): string;
declare const document: { readonly activeElement: unknown };

async function logIn(page: Page, password: string): Promise<void> {
  await page.getByLabel("Name").fill("admin");
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Log in" }).click();
}

async function picture(page: Page, name: string): Promise<void> {
  const folder = process.env.CONFUNDO_SCREENSHOTS;
  if (folder === undefined) return;
  fs.mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: path.join(folder, `${name}.png`) });
}
