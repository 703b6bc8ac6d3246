//! {{summary}}

use flowrun_plugin::{Failure, Plugin, Task, Values, values};
use serde::Deserialize;

/// The step's `with`, as plugin.yaml describes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default = "hello")]
    greeting: String,
}

fn hello() -> String {
    "hello".to_owned()
}

struct Greet;

impl Plugin for Greet {
    type Config = Config;

    fn run(config: Config, task: &Task) -> Result<Values, Failure> {
        let text = std::fs::read_to_string(task.input("names")?).map_err(Failure::bad_input)?;
        let names: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        if names.is_empty() {
            return Err(Failure::bad_input("no names in the file"));
        }
        let greetings: String = names.iter().map(|name| format!("{} {name}\n", config.greeting)).collect();
        std::fs::write(task.output("greetings")?, greetings).map_err(Failure::internal)?;
        task.info(format!("{} greeted", names.len()));
        Ok(values! { "count": names.len() })
    }
}

flowrun_plugin::export!(Greet);
