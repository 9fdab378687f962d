//! A way to a server that can be cut: a TCP proxy on a free loopback port.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Both ends of each connection that was made.
type Ends = Arc<Mutex<Vec<TcpStream>>>;

/// A running proxy; its threads end with this program.
#[derive(Debug)]
pub struct Passage {
    address: SocketAddr,
    ends: Ends,
}

impl Passage {
    /// Leads to a server, which may come and go.
    ///
    /// # Panics
    /// There is no free port.
    #[must_use]
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port can be found");
        let address = listener.local_addr().expect("a bound socket has an address");
        let ends = Ends::default();
        let open = ends.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // When the server is away, the client sees its connection end.
                if let Ok(server) = TcpStream::connect(server) {
                    let _ = lead(&client, &server, &open);
                }
            }
        });
        Self { address, ends }
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts every connection, whatever is on its way, and lets new ones be made; how many there were.
    ///
    /// # Panics
    /// A thread of the proxy has panicked.
    pub fn cut(&self) -> usize {
        let mut ends = self.ends.lock().expect("no thread panics while it holds the lock");
        ends.drain(..).filter(|end| end.shutdown(Shutdown::Both).is_ok()).count()
    }
}

fn lead(client: &TcpStream, server: &TcpStream, open: &Ends) -> io::Result<()> {
    let mut open = open.lock().expect("no thread panics while it holds the lock");
    open.extend([client.try_clone()?, server.try_clone()?]);
    drop(open);
    for (mut from, mut to) in
        [(client.try_clone()?, server.try_clone()?), (server.try_clone()?, client.try_clone()?)]
    {
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            // One side has ended: so does the other.
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn bytes_pass_until_it_is_cut_and_pass_again_on_a_new_connection() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let passage = Passage::to(server.local_addr().unwrap());
        for _ in 0..2 {
            let mut client = TcpStream::connect(passage.address()).unwrap();
            let mut other = server.accept().unwrap().0;
            client.write_all(b"there").unwrap();
            let mut word = [0; 5];
            other.read_exact(&mut word).unwrap();
            assert_eq!(&word, b"there");
            other.write_all(b"again").unwrap();
            client.read_exact(&mut word).unwrap();
            assert_eq!(&word, b"again");
            assert!(passage.cut() >= 2);
            assert!(client.read(&mut word).map_or(true, |count| count == 0));
        }
    }
}
