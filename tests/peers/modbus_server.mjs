// A Modbus server of the npm package modbus-serial: `node modbus_server.mjs tcp PORT` or `node modbus_server.mjs serial PATH`.
//
// Register n of unit u holds 1000 * u + n, as input register one more; coils are on where n is odd, discrete inputs
// where it is even. Registers from 500 on do not exist. Unit 9 never answers. Prints `ready`, and every function code
// that it is asked for.
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.env.WELLOS_NODE_MODULES, "here.js"));
const { ServerTCP, ServerSerial } = require("modbus-serial");

const illegal = Object.assign(new Error("no such register"), { modbusErrorCode: 2 });

function answer(code, value) {
    return (address, unit, reply) => {
        console.log(`asked ${code}`);
        if (unit === 9) return;
        if (address >= 500) reply(illegal);
        else reply(null, value(address, unit));
    };
}

const device = {
    getCoil: answer(1, (address) => address % 2 === 1),
    getDiscreteInput: answer(2, (address) => address % 2 === 0),
    getHoldingRegister: answer(3, (address, unit) => 1000 * unit + address),
    getInputRegister: answer(4, (address, unit) => 1000 * unit + address + 1),
    setRegister: () => console.log("asked 6"),
    setCoil: () => console.log("asked 5"),
};

const [kind, where] = process.argv.slice(2);
const server =
    kind === "tcp"
        ? new ServerTCP(device, { host: "127.0.0.1", port: Number(where), unitID: 255 })
        : new ServerSerial(device, { path: where, baudRate: 115200, unitID: 255 });
server.on("initialized", () => console.log("ready"));
for (const kindOfError of ["error", "socketError", "serverError"]) server.on(kindOfError, (error) => console.error(error));
