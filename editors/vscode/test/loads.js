// Without an editor: the bundle loads, and starts and stops the server that the settings name.
//
//     PIPE=../../target/debug/pipe npm test
//
// `vscode` exists only inside the editor; here a stand-in answers every call with itself, and notes commands.

const assert = require("node:assert");
const Module = require("node:module");
const { spawnSync } = require("node:child_process");
const path = require("node:path");

const registered = [];
const anything = new Proxy(function () {}, {
    get: (_, key) => (key === Symbol.toPrimitive ? () => "" : key === "then" ? undefined : anything),
    apply: () => anything,
    construct: () => anything,
});
const vscode = new Proxy(
    {
        commands: { registerCommand: (name) => registered.push(name) },
        version: "1.91.0",
    },
    { get: (target, key) => target[key] ?? anything },
);
const load = Module._load;
Module._load = (name, ...rest) => (name === "vscode" ? vscode : load(name, ...rest));

const extension = require(path.join(__dirname, "../out/extension.js"));
assert.equal(typeof extension.activate, "function");
assert.equal(typeof extension.deactivate, "function");

const manifest = require("../package.json");
assert.deepEqual(
    manifest.contributes.commands.map((command) => command.command),
    ["pipe.restart"],
);

// The command line that the extension starts is one that the program takes.
const program = process.env.PIPE ?? "pipe";
const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize", params: { capabilities: {} } });
const frame = `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
const answer = spawnSync(program, ["lsp", "--stdio"], { input: frame, encoding: "utf8" });
assert.ifError(answer.error);
assert.match(answer.stdout, /"serverInfo":\{"name":"pipe"/);
assert.equal(answer.status, 0);
console.log("the bundle loads, and the server answers");
