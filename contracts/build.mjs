// Compiles the Solidity sources into artifacts/<Contract>.json.
//
//   node build.mjs           writes the artifacts
//   node build.mjs --check   compiles again and fails if an artifact is missing, differs, or has no source
//
// The output depends only on the sources, the settings below and the compiler pinned in package.json.

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { createRequire } from "node:module";

const ROOT = dirname(fileURLToPath(import.meta.url));
const ARTIFACTS = join(ROOT, "artifacts");
/** Source folders, one per service, and `test` for what only tests and development chains deploy. */
const FOLDERS = ["payer", "vrf", "test"];

/** Paris has no PUSH0, so the code also runs on chains that lag behind. No metadata hash: a changed comment does not change the code. */
const SETTINGS = {
  evmVersion: "paris",
  optimizer: { enabled: true, runs: 200 },
  metadata: { bytecodeHash: "none" },
};

function readSources() {
  const sources = {};
  for (const folder of FOLDERS) {
    for (const file of readdirSync(join(ROOT, folder)).filter((name) => name.endsWith(".sol")).sort()) {
      sources[`${folder}/${file}`] = { content: readFileSync(join(ROOT, folder, file), "utf8") };
    }
  }
  return sources;
}

/** The file itself and everything it imports, directly or not. */
function closureOf(path, sources, seen = new Set()) {
  if (seen.has(path)) return seen;
  seen.add(path);
  for (const [, target] of sources[path].content.matchAll(/^import\s[^"]*"([^"]+)";/gm)) {
    closureOf(join(dirname(path), target), sources, seen);
  }
  return seen;
}

/** SHA-256 over name and content of every file the contract is made of, in order of name. */
function sourceHash(path, sources) {
  const hash = createHash("sha256");
  for (const name of [...closureOf(path, sources)].sort()) {
    hash.update(`${name}\0${sources[name].content}\0`);
  }
  return hash.digest("hex");
}

function compile(sources) {
  const require = createRequire(import.meta.url);
  let solc;
  try {
    solc = require("solc");
  } catch {
    throw new Error("the compiler is not installed: run `npm ci` in contracts/");
  }
  const pinned = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")).devDependencies.solc;
  if (!solc.version().startsWith(`${pinned}+`)) {
    throw new Error(`compiler ${solc.version()} is installed, package.json pins ${pinned}`);
  }
  const input = {
    language: "Solidity",
    sources,
    settings: {
      ...SETTINGS,
      outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "storageLayout"] } },
    },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  const faults = (output.errors ?? []).filter((entry) => entry.severity !== "info");
  if (faults.length > 0) {
    throw new Error(faults.map((entry) => entry.formattedMessage).join("\n"));
  }
  return { version: solc.version(), contracts: output.contracts };
}

/** Where the state variables are, and where the members of their structs are inside of those. */
function storageOf({ storage, types }) {
  const places = (entries) =>
    entries.map(({ label, slot, offset, type }) => ({ label, slot, offset, type: types[type].label }));
  const structs = Object.values(types ?? {}).filter((type) => type.members !== undefined);
  return {
    storageLayout: places(storage),
    ...(structs.length === 0
      ? {}
      : { storageStructs: Object.fromEntries(structs.map((type) => [type.label, places(type.members)])) }),
  };
}

/** File name -> text of every artifact. Interfaces, libraries without code and abstract contracts have none. */
function buildArtifacts() {
  const sources = readSources();
  const { version, contracts } = compile(sources);
  const artifacts = new Map();
  for (const [path, inFile] of Object.entries(contracts)) {
    for (const [name, contract] of Object.entries(inFile)) {
      if (contract.evm.bytecode.object === "" || contract.abi.length === 0) continue;
      if (artifacts.has(`${name}.json`)) throw new Error(`two contracts are called ${name}`);
      // Libraries with internal functions only have errors in their ABI and are never deployed.
      if (contract.abi.every((entry) => entry.type === "error")) continue;
      const artifact = {
        contractName: name,
        sourceName: path,
        sourceHash: `sha256:${sourceHash(path, sources)}`,
        compiler: version,
        settings: SETTINGS,
        abi: contract.abi,
        ...storageOf(contract.storageLayout),
        bytecode: `0x${contract.evm.bytecode.object}`,
        deployedBytecode: `0x${contract.evm.deployedBytecode.object}`,
      };
      artifacts.set(`${name}.json`, `${JSON.stringify(artifact, null, 1)}\n`);
    }
  }
  return artifacts;
}

function committedNames() {
  return existsSync(ARTIFACTS) ? readdirSync(ARTIFACTS).filter((name) => name.endsWith(".json")) : [];
}

function write(artifacts) {
  mkdirSync(ARTIFACTS, { recursive: true });
  for (const name of committedNames()) {
    if (!artifacts.has(name)) rmSync(join(ARTIFACTS, name));
  }
  for (const [name, text] of artifacts) writeFileSync(join(ARTIFACTS, name), text);
  console.error(`wrote ${artifacts.size} artifacts`);
}

function check(artifacts) {
  const faults = [];
  for (const [name, text] of artifacts) {
    const path = join(ARTIFACTS, name);
    if (!existsSync(path)) faults.push(`${name}: missing`);
    else if (readFileSync(path, "utf8") !== text) faults.push(`${name}: differs from what the sources compile to`);
  }
  for (const name of committedNames()) {
    if (!artifacts.has(name)) faults.push(`${name}: no source makes it`);
  }
  if (faults.length > 0) {
    throw new Error(`artifacts are not up to date, run \`npm run build\` in contracts/:\n  ${faults.join("\n  ")}`);
  }
  console.error(`${artifacts.size} artifacts are up to date`);
}

try {
  const [mode, ...rest] = process.argv.slice(2);
  if (rest.length > 0 || (mode !== undefined && mode !== "--check")) {
    throw new Error("usage: node build.mjs [--check]");
  }
  const artifacts = buildArtifacts();
  if (mode === "--check") check(artifacts);
  else write(artifacts);
} catch (error) {
  console.error(`build.mjs: ${error.message}`);
  process.exitCode = 1;
}
