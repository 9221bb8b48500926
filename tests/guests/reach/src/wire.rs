//! Steps with the network.

use std::io::{BufRead, BufReader, Error, Read, Result, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use crate::disk::many;
use crate::{Open, Step};

/// Runs a step, if it is one with the network.
pub fn take(step: &Step, open: &mut Open) -> Option<Result<String>> {
    Some(match step {
        Step::Lookup(host) => lookup(host),
        Step::Connect(address) => connect(address, open).map(|()| "connected".to_owned()),
        Step::ConnectMany(address, times) => many(*times, || connect(address, open)),
        Step::Udp(address) => udp(address),
        Step::Listen(address) => TcpListener::bind(address).map(|_| "listening".to_owned()),
        Step::Close => {
            open.connections.pop();
            Ok("closed".to_owned())
        }
        Step::Say(_) | Step::Hear | Step::Send(_) | Step::Drain | Step::ReadTimeout(_) => {
            match open.connections.last_mut() {
                Some(connection) => talk(step, connection),
                None => Err(Error::other("no connection")),
            }
        }
        _ => return None,
    })
}

fn lookup(host: &str) -> Result<String> {
    let addresses = (host, 1).to_socket_addrs()?;
    let texts: Vec<String> = addresses.map(|address| address.ip().to_string()).collect();
    Ok(texts.join(" "))
}

fn connect(address: &str, open: &mut Open) -> Result<()> {
    open.connections
        .push(BufReader::new(TcpStream::connect(address)?));
    Ok(())
}

fn talk(step: &Step, connection: &mut BufReader<TcpStream>) -> Result<String> {
    match step {
        Step::Say(line) => {
            connection
                .get_mut()
                .write_all(format!("{line}\r\n").as_bytes())?;
            Ok("said".to_owned())
        }
        Step::Hear => {
            let mut line = String::new();
            connection.read_line(&mut line)?;
            Ok(line.trim_end().to_owned())
        }
        Step::Send(bytes) => {
            let piece = vec![b'x'; 1_000];
            let mut left = *bytes;
            while left > 0 {
                let n = left.min(1_000);
                connection.get_mut().write_all(&piece[..n as usize])?;
                left -= n;
            }
            Ok("sent".to_owned())
        }
        Step::Drain => {
            let mut piece = vec![0; 4_096];
            let mut total = 0;
            loop {
                match connection.read(&mut piece) {
                    Ok(0) => return Ok(format!("{total}")),
                    Ok(n) => total += n,
                    Err(error) => return Ok(format!("{total}, then {:?}: {error}", error.kind())),
                }
            }
        }
        Step::ReadTimeout(millis) => {
            let timeout = Duration::from_millis(*millis);
            connection
                .get_ref()
                .set_read_timeout(Some(timeout))
                .map(|()| "set".to_owned())
        }
        _ => Err(Error::other("not a step")),
    }
}

fn udp(address: &str) -> Result<String> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.send_to(b"x", address)?;
    Ok("sent".to_owned())
}
