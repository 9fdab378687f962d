//! The bridge to an MQTT broker, as a process of its own.

fn main() -> std::process::ExitCode {
    gnomon_run::on_queue("bridge", |settings, queue, stop| async move {
        let address = settings
            .broker
            .as_deref()
            .ok_or("it needs --broker mqtt://host:port: the MQTT broker that devices use")?;
        let options = gnomon_bridge::BridgeOptions::of(address, &settings)?;
        Ok(gnomon_bridge::run(options, queue, stop).await?)
    })
}
