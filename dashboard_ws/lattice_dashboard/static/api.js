// Asking the server. Whatever goes wrong becomes an `ApiError` with a sentence for people.

import { readKey } from "./key.js";

export class ApiError extends Error {
  constructor(status, message, code = "", param = null, retryAfterS = null) {
    super(message);
    Object.assign(this, { status, code, param, retryAfterS });
  }
}

/** Fetch `path` with the key; raises `ApiError` for every answer but a 2xx. */
export async function ask(path, { method = "GET", body, headers = {}, signal } = {}) {
  const key = readKey();
  let response;
  try {
    response = await fetch(path, {
      method,
      signal,
      cache: "no-store",
      headers: {
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...(key ? { Authorization: `Bearer ${key}` } : {}),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The server cannot be reached.", "unreachable");
  }
  if (response.ok) return response;
  throw await errorOf(response);
}

/** The same, and read the JSON of the answer. */
export async function askJson(path, options) {
  return (await ask(path, options)).json();
}

async function errorOf(response) {
  let body = null;
  try {
    body = await response.json();
  } catch {
    // not JSON: a proxy in between, perhaps
  }
  const error = body?.error;
  const told = typeof error === "string" ? { message: error } : error ?? {};
  const message = told.message ?? `The server answered ${response.status}.`;
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  const failed = new ApiError(response.status, message, told.code, told.param, retryAfter);
  return Object.assign(failed, { rows: body?.error_details?.agents ?? [] }); // of a swarm
}

const modelPath = (model) => model.split("/").map(encodeURIComponent).join("/");

/** Load, unload, pin, unpin or drain a model. */
export const steer = (model, verb) =>
  askJson(`/v1/models/${modelPath(model)}/${verb}`, { method: "POST" });

export const cancelRequest = (id) =>
  askJson(`/v1/requests/${encodeURIComponent(id)}`, { method: "DELETE" });

/** Stop one branch of a swarm; the others go on. */
export const stopBranch = (session, branch) =>
  askJson(`/swarm/sessions/${encodeURIComponent(session)}/branches/${branch}`, { method: "DELETE" });

export const rescan = () => askJson("/dashboard/api/admin/rescan", { method: "POST" });

export const plan = (body, signal, headers) =>
  askJson("/v1/plan", { method: "POST", body, signal, headers });

export const savePreferences = (preferences) =>
  askJson("/dashboard/api/preferences", { method: "POST", body: preferences });

/** What happened in each second of the last quarter of an hour, as far as something did. */
export const readHistory = () => askJson("/dashboard/api/history");
