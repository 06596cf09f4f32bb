// A node-opcua server for tests of the OPC UA adapter: a peer that none of us wrote.
//
// WELLOS_NODE_MODULES=<folder of node_modules with node-opcua> node opcua_server.mjs PORT PKI_FOLDER
// prints `ready CERTIFICATE_FILE`, then takes lines on standard input and answers each with `done`:
//   write NAME VALUE TIME_MS STATUS    (VALUE `null`: no value; STATUS: name of a status code)
//   namespace URI                      (registers one more)
//   stop
import { createRequire } from "node:module";
import path from "node:path";
import readline from "node:readline";

const require = createRequire(path.join(process.env.WELLOS_NODE_MODULES, "here.js"));
const {
  OPCUAServer, OPCUACertificateManager, MessageSecurityMode, SecurityPolicy, StatusCodes, DataType, DataValue, Variant,
} = require("node-opcua");

const [port, folder] = [Number(process.argv[2]), process.argv[3]];
const manager = new OPCUACertificateManager({ rootFolder: folder, automaticallyAcceptUnknownCertificate: true });
await manager.initialize();
const server = new OPCUAServer({
  port,
  hostname: "127.0.0.1",
  serverCertificateManager: manager,
  securityModes: [MessageSecurityMode.None, MessageSecurityMode.Sign, MessageSecurityMode.SignAndEncrypt],
  securityPolicies: [
    SecurityPolicy.None,
    SecurityPolicy.Basic256Sha256,
    SecurityPolicy.Aes128_Sha256_RsaOaep,
    SecurityPolicy.Aes256_Sha256_RsaPss,
  ],
  userManager: { isValidUser: (user, password) => user === "ann" && password === "s3cret" },
});
await server.initialize();
const space = server.engine.addressSpace;
const namespace = space.registerNamespace("urn:wellos:peer");
const pump = namespace.addObject({ browseName: "Pump", organizedBy: space.rootFolder.objects });
const nodes = {};
for (const name of ["pressure", "flow"]) {
  nodes[name] = namespace.addAnalogDataItem({
    browseName: name,
    nodeId: `s=Pump.${name}`,
    componentOf: pump,
    dataType: "Double",
    engineeringUnitsRange: { low: 0, high: 100 },
    engineeringUnits: require("node-opcua").standardUnits.bar,
    minimumSamplingInterval: 10,
  });
  space.installHistoricalDataNode(nodes[name], { maxOnlineValues: 1000 });
}
nodes.text = namespace.addVariable({ browseName: "text", nodeId: "s=Pump.text", componentOf: pump, dataType: "String" });
await server.start();
console.log(`ready ${server.certificateFile}`);

for await (const line of readline.createInterface({ input: process.stdin })) {
  const [what, name, value, time, status] = line.split(" ");
  if (what === "stop") break;
  if (what === "namespace") space.registerNamespace(name);
  if (what === "write") {
    const isText = name === "text";
    const empty = value === "null";
    const dataType = empty ? DataType.Null : isText ? DataType.String : DataType.Double;
    nodes[name]._internal_set_dataValue(
      new DataValue({
        value: new Variant({ dataType, value: empty ? undefined : isText ? value : Number(value) }),
        sourceTimestamp: new Date(Number(time)),
        serverTimestamp: new Date(),
        statusCode: StatusCodes[status ?? "Good"],
      }),
    );
  }
  console.log("done");
}
await server.shutdown(0);
process.exit(0);
