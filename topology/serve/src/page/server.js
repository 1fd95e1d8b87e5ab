// Server: requests, errors as sentences, and the token where one is asked for.
"use strict";
const $ = (id) => document.getElementById(id);

async function ask(method, path, body) {
  const options = { method, headers: {} };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = typeof body === "string" ? body : JSON.stringify(body);
  }
  const answer = await fetch(path, options);
  if (answer.status === 401) {
    await login();
    return ask(method, path, body);
  }
  const text = await answer.text();
  const json = text && (answer.headers.get("Content-Type") || "").includes("json") ? JSON.parse(text) : null;
  if (!answer.ok) throw new Error(json?.error?.message || `The server answered ${answer.status}.`);
  return json;
}

let entering = null;
function login() {
  entering ??= new Promise((entered) => {
    const dialog = $("login");
    dialog.oncancel = (event) => event.preventDefault(); // nothing works without the token
    dialog.showModal();
    $("login-form").onsubmit = async (event) => {
      event.preventDefault();
      const body = JSON.stringify({ token: $("token").value });
      const answer = await fetch("/v1/session", { method: "POST", headers: { "Content-Type": "application/json" }, body });
      if (answer.ok) {
        dialog.close();
        entering = null;
        entered();
      } else {
        $("login-error").textContent = "That is not the token.";
      }
    };
  });
  return entering;
}
