// What do pages do beyond what HTML does by itself? They fetch themselves again and take over what has changed, copy
// code, choose all of a table, and ask for words before what cannot be undone. What is expected of the markup says web/ui/__init__.py.
"use strict";

(() => {
  const REFRESH_KEY = "pushgateway-refresh-seconds";
  const PAUSE_KEY = "pushgateway-paused";
  const ANSWER_WITHIN_MS = 20_000;

  // A browser may keep nothing; then a choice holds for this page.
  const kept = (storage, key) => {
    try {
      return globalThis[storage].getItem(key);
    } catch {
      return null;
    }
  };
  const keep = (storage, key, value) => {
    try {
      globalThis[storage].setItem(key, value);
    } catch {
      /* see above */
    }
  };

  // Copying

  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy]");
    const code = button?.parentElement.querySelector("code");
    if (!code) return;
    const before = button.dataset.before ?? (button.dataset.before = button.firstChild.data);
    button.firstChild.data = (await copied(code)) ? "Copied" : "Selected";
    setTimeout(() => (button.firstChild.data = before), 2000);
  });

  const copied = async (code) => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      return true;
    } catch {
      // Without TLS there is no clipboard; what is selected can be copied all the same, if need be by hand.
      getSelection().selectAllChildren(code);
      return document.execCommand("copy");
    }
  };

  // Confirming

  const awaitWords = (form) => {
    const input = form.elements.namedItem("confirm");
    for (const button of form.querySelectorAll("button[type=submit]")) {
      button.disabled = input.value.trim() !== form.dataset.confirm;
    }
  };
  document.addEventListener("input", (event) => {
    if (event.target.form?.dataset.confirm !== undefined) awaitWords(event.target.form);
  });

  // Choosing

  document.addEventListener("change", (event) => {
    if (event.target.dataset?.checkAll === undefined) return;
    for (const box of event.target.closest("table").querySelectorAll("tbody input[type=checkbox]")) {
      box.checked = event.target.checked;
    }
  });

  const enhance = (part) => {
    for (const one of part.querySelectorAll("[data-copy], [data-check-all]")) one.hidden = false;
    for (const form of part.querySelectorAll("form[data-confirm]")) awaitWords(form);
  };

  // Taking over what has changed: nodes stay where they can, so that focus, scroll, what is open and what is checked
  // stay with them.

  const alike = (one, other) => one.nodeType === other.nodeType && one.nodeName === other.nodeName;

  const takeNode = (node, fresh) => {
    if (node.nodeType !== Node.ELEMENT_NODE) {
      if (node.data !== fresh.data) node.data = fresh.data;
      return;
    }
    for (const { name } of [...node.attributes]) {
      if (!fresh.hasAttribute(name) && !isReaders(node, name)) node.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (node.getAttribute(name) !== value && !isReaders(node, name)) node.setAttribute(name, value);
    }
    takeChildren(node, fresh);
  };

  const isReaders = (node, name) => name === "open" && node.nodeName === "DETAILS";

  const takeChildren = (parent, fresh) => {
    const wantedNames = new Set([...fresh.children].map((one) => one.id));
    const named = new Map();
    for (const one of [...parent.children]) {
      if (one.id && !wantedNames.has(one.id)) one.remove();
      else if (one.id) named.set(one.id, one);
    }
    let next = parent.firstChild;
    for (const wanted of fresh.childNodes) {
      const node = wanted.id ? named.get(wanted.id) : unnamed(next, wanted);
      if (!node || !alike(node, wanted)) {
        parent.insertBefore(document.importNode(wanted, true), next);
        continue;
      }
      // One that has gone down makes way, rather than that all the others move: what moves loses its scroll and focus.
      if (next?.id && node === next.nextElementSibling) {
        parent.append(next);
        if (node.previousSibling?.nodeType === Node.TEXT_NODE) node.previousSibling.remove();
        next = node;
      }
      if (node === next) next = next.nextSibling;
      else parent.insertBefore(node, next);
      takeNode(node, wanted);
    }
    while (next) {
      const gone = next;
      next = next.nextSibling;
      gone.remove();
    }
  };

  const unnamed = (node, wanted) => {
    while (node && (node.id || !alike(node, wanted))) node = node.nextSibling;
    return node;
  };

  const isSelectedIn = (part) => {
    const selection = getSelection();
    return !selection.isCollapsed && selection.containsNode(part, true);
  };

  const known = new Map();
  const nameOf = (part) => part.dataset.live;
  const parts = (within) => [...within.querySelectorAll("[data-live]")];
  const remember = (part) => known.set(nameOf(part), part.innerHTML);

  const takeOver = (page) => {
    const names = new Set(parts(page).map(nameOf));
    // It is another page, such as one that was an error and is none any more.
    if (!parts(document).every((part) => names.has(nameOf(part)))) {
      location.reload();
      return;
    }
    const focused = document.activeElement;
    for (const fresh of parts(page)) {
      const part = document.querySelector(`[data-live="${CSS.escape(nameOf(fresh))}"]`);
      // What the reader is about to copy waits for the next time.
      if (!part || known.get(nameOf(fresh)) === fresh.innerHTML || isSelectedIn(part)) continue;
      remember(fresh);
      enhance(fresh);
      takeChildren(part, fresh);
      enhance(part);
    }
    if (document.activeElement === focused) return;
    // It was moved, or it is gone.
    (focused.isConnected ? focused : document.getElementById("main")).focus({ preventScroll: true });
  };

  // Fetching the page again

  const controls = document.querySelector("[data-refresh]");
  const lost = document.querySelector("[data-lost]");
  let timer = 0;
  let request = null;
  let begunAt = Date.now();
  let shownAt = new Date();

  const refresh = async () => {
    clearTimeout(timer);
    request?.abort();
    const mine = (request = new AbortController());
    begunAt = Date.now();
    const late = setTimeout(() => mine.abort(), ANSWER_WITHIN_MS);
    const [problem, text] = await fetched(mine.signal);
    clearTimeout(late);
    // The next one has begun meanwhile, or the reader leaves.
    if (mine !== request) return;
    request = null;
    if (!problem) {
      shownAt = new Date();
      takeOver(new DOMParser().parseFromString(text, "text/html"));
    }
    say(problem);
    plan();
  };

  const fetched = async (signal) => {
    try {
      // A user and password in the address are refused there; the browser has them anyway.
      const here = new URL(location.href);
      here.username = here.password = here.hash = "";
      const answer = await fetch(here, { cache: "no-store", signal });
      if (answer.ok) return ["", await answer.text()];
      return [answer.status === 404 ? "This is not there any more" : `The gateway answers ${answer.status}`, ""];
    } catch {
      return ["The gateway cannot be reached", ""];
    }
  };

  const say = (problem) => {
    const text = problem && `${problem}. This is the state of ${shownAt.toLocaleTimeString()}.`;
    // Only what has changed is spoken by a screen reader.
    if (lost.textContent !== text) lost.textContent = text;
    lost.classList.toggle("shown", text !== "");
    controls.dataset.state = problem ? "lost" : controls.dataset.state === "lost" ? "live" : controls.dataset.state;
  };

  const run = () => {
    const select = controls.querySelector("select");
    const pause = controls.querySelector("button");
    select.value = kept("localStorage", REFRESH_KEY) ?? select.value;
    if (select.selectedIndex < 0) select.selectedIndex = 1;
    let paused = kept("sessionStorage", PAUSE_KEY) === "yes";

    const show = () => {
      pause.setAttribute("aria-pressed", String(paused));
      if (controls.dataset.state !== "lost") controls.dataset.state = paused ? "paused" : "live";
    };
    plan = () => {
      clearTimeout(timer);
      if (paused || document.hidden || request) return;
      timer = setTimeout(refresh, Math.max(0, begunAt + 1000 * Number(select.value) - Date.now()));
    };
    select.addEventListener("change", () => {
      keep("localStorage", REFRESH_KEY, select.value);
      plan();
    });
    pause.addEventListener("click", () => {
      paused = !paused;
      keep("sessionStorage", PAUSE_KEY, paused ? "yes" : "no");
      show();
      if (paused) plan();
      else refresh();
    });
    document.addEventListener("visibilitychange", plan);
    addEventListener("pagehide", () => {
      const last = request;
      request = null;
      clearTimeout(timer);
      last?.abort();
    });
    addEventListener("pageshow", (event) => event.persisted && plan());
    controls.hidden = false;
    show();
    plan();
  };
  let plan = () => {};

  parts(document).forEach(remember);
  enhance(document);
  if (controls) run();
})();
