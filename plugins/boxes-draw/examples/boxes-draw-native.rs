//! The plugin as an ordinary program: `boxes-draw-native CONFIG_JSON IN_NAME=PATH... -- OUT_NAME=PATH...`.

fn main() -> std::process::ExitCode {
    flowrun_plugin::native_main::<boxes_draw::BoxesDraw>()
}
