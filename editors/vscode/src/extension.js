// Starts `pipe lsp` for KDL files, and hands everything to it.

const { commands, window, workspace } = require("vscode");
const { LanguageClient, TransportKind } = require("vscode-languageclient/node");

let client;

function start() {
    const settings = workspace.getConfiguration("pipe");
    const server = {
        command: settings.get("path", "pipe"),
        args: ["lsp", ...settings.get("arguments", [])],
        transport: TransportKind.stdio,
    };
    const options = {
        documentSelector: [
            { language: "kdl", scheme: "file" },
            { language: "kdl", scheme: "untitled" },
        ],
        // Files that a pipeline reads are checked by content: `(file)"data.txt"` is missing, or is there again.
        synchronize: { fileEvents: workspace.createFileSystemWatcher("**/*") },
    };
    client = new LanguageClient("pipe", "pipe", server, options);
    return client.start().catch((error) => {
        window.showErrorMessage(`pipe: \`${server.command} lsp\` did not start (${error.message}); set "pipe.path"`);
    });
}

async function stop() {
    const old = client;
    client = undefined;
    await old?.stop().catch(() => undefined);
}

async function activate(context) {
    const restart = async () => {
        await stop();
        await start();
    };
    context.subscriptions.push(
        commands.registerCommand("pipe.restart", restart),
        workspace.onDidChangeConfiguration((event) => {
            if (event.affectsConfiguration("pipe.path") || event.affectsConfiguration("pipe.arguments")) {
                return restart();
            }
        }),
    );
    await start();
}

module.exports = { activate, deactivate: stop };
