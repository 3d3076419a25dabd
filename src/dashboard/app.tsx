import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { visibleLabel } from "../text/visible.js";
import { ApiError, address, get, type Me, post, type Statistics } from "./api.js";
import icon from "./icon.svg";
import { Live, type LiveState, type Socket } from "./live.js";
import { Audit } from "./pages/audit.js";
import { Devices } from "./pages/devices.js";
import { Files } from "./pages/files.js";
import { Folders } from "./pages/folders.js";
import { Login } from "./pages/login.js";
import { Transfers } from "./pages/transfers.js";
import { Users } from "./pages/users.js";
import { Versions } from "./pages/versions.js";
import { messageOf } from "./parts/load.js";
import { type Shell, ShellContext } from "./parts/shell.js";
import { Shown } from "./parts/show.js";
import { hrefOf, type Place, usePlace } from "./router.js";

type Session = { readonly me: Me; readonly lastEvent: number } | "loading" | "login" | { readonly error: string };

/** Close codes from here on mean that coming back is of no use before a new login. */
const UNAUTHENTICATED = 4401;

/** Who is here, and what they see. */
export function App() {
  const [session, setSession] = useState<Session>("loading");

  const begin = useCallback(async () => {
    try {
      const [me, { lastEvent }] = await Promise.all([get<Me>("/me"), get<Statistics>("/statistics")]);
      setSession({ me, lastEvent });
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) setSession("login");
      else setSession({ error: messageOf(error) });
    }
  }, []);
  useEffect(() => void begin(), [begin]);

  if (session === "loading") return <main class="login">Loading…</main>;
  if (session === "login") return <Login onLogin={() => void begin()} />;
  if ("error" in session)
    return (
      <main class="login">
        <p class="trouble" role="alert">
          <Shown of={session.error} />
        </p>
        <button type="button" onClick={() => void begin()}>
          Try again
        </button>
      </main>
    );
  return <Main me={session.me} lastEvent={session.lastEvent} onLeave={() => setSession("login")} />;
}

interface MainProps {
  readonly me: Me;
  readonly lastEvent: number;
  readonly onLeave: () => void;
}

function Main({ me, lastEvent, onLeave }: MainProps) {
  const place = usePlace();
  const [said, setSaid] = useState<{ text: string; kind: "done" | "error" }>();
  const leave = useRef(onLeave);
  leave.current = onLeave;
  const live = useMemo(() => new Live({ open: (after) => openSocket(after, () => leave.current()), ...timers }), []);
  useEffect(() => {
    live.start(lastEvent);
    return () => live.stop();
  }, [live, lastEvent]);
  const shell = useMemo<Shell>(
    () => ({
      me,
      live,
      say: (text, kind = "done") => setSaid({ text, kind }),
      onUnauthenticated: () => leave.current(),
    }),
    [me, live],
  );
  useEffect(() => {
    if (said === undefined) return;
    const timer = setTimeout(() => setSaid(undefined), 6000);
    return () => clearTimeout(timer);
  }, [said]);

  const logout = async (): Promise<void> => {
    await post("/logout").catch(() => {});
    onLeave();
  };

  return (
    <ShellContext.Provider value={shell}>
      <button type="button" class="skip" onClick={() => document.getElementById("main")?.focus()}>
        Skip to the content
      </button>
      <header class="top">
        <a class="brand" href={hrefOf({ page: "folders" })}>
          <img src={icon} alt="" width="24" height="24" /> Confundo
        </a>
        <Navigation place={place} admin={me.user.role === "admin"} />
        <div class="who">
          <Connected live={live} />
          <Shown of={me.user.name} />
          <button type="button" onClick={() => void logout()}>
            Log out
          </button>
        </div>
      </header>
      <main id="main" tabIndex={-1}>
        <PageOf place={place} />
      </main>
      <p class={`said said-${said?.kind ?? "none"}`} role="status">
        {said === undefined ? null : <Shown of={said.text} />}
      </p>
    </ShellContext.Provider>
  );
}

const PAGES = [
  { page: "folders", title: "Folders", admin: false },
  { page: "transfers", title: "Transfers", admin: false },
  { page: "devices", title: "Devices", admin: true },
  { page: "users", title: "Users", admin: true },
  { page: "audit", title: "Audit", admin: true },
] as const;

function Navigation({ place, admin }: { readonly place: Place; readonly admin: boolean }) {
  const current = place.page === "files" || place.page === "versions" ? "folders" : place.page;
  return (
    <nav aria-label="Pages">
      <ul>
        {PAGES.filter((entry) => admin || !entry.admin).map(({ page, title }) => (
          <li key={page}>
            <a href={hrefOf({ page })} aria-current={page === current ? "page" : undefined}>
              {title}
            </a>
          </li>
        ))}
      </ul>
    </nav>
  );
}

function PageOf({ place }: { readonly place: Place }) {
  useEffect(() => {
    document.title = `${"folder" in place ? visibleLabel(place.folder) : place.page} · Confundo`;
  }, [place]);
  switch (place.page) {
    case "folders":
      return <Folders />;
    case "files":
      return <Files folder={place.folder} path={place.path} />;
    case "versions":
      return <Versions folder={place.folder} path={place.path} />;
    case "transfers":
      return <Transfers />;
    case "devices":
      return <Devices />;
    case "users":
      return <Users />;
    case "audit":
      return <Audit />;
  }
}

const STATES: Record<LiveState, string> = {
  connecting: "connecting",
  open: "live",
  waiting: "connection lost",
  closed: "offline",
};

function Connected({ live }: { readonly live: Live }) {
  const [state, setState] = useState(live.state);
  useEffect(() => {
    setState(live.state);
    return live.watch(setState);
  }, [live]);
  return (
    <span class={`live live-${state}`} role="status">
      {STATES[state]}
    </span>
  );
}

function openSocket(after: number | null, onUnauthenticated: () => void): Socket {
  const url = address("/events", { after: after ?? undefined }).replace(/^http/, "ws");
  const socket = new WebSocket(url);
  socket.addEventListener("close", ({ code }) => code === UNAUTHENTICATED && onUnauthenticated());
  return socket as unknown as Socket;
}

const timers = {
  setTimer: (callback: () => void, ms: number): unknown => setTimeout(callback, ms),
  clearTimer: (timer: unknown): void => clearTimeout(timer as number),
};
