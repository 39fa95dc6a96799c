//! Who is connected to whom: nodes and switches, and links of one direction between them.

use crate::link::LinkConfig;
use std::collections::VecDeque;

/// A link's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub usize);

/// A node or a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// The node of this number. It has one link that leads away.
    Node(usize),
    /// The switch of this number.
    Switch(usize),
}

/// Nodes, switches and links. There are no loops: switches forward by destination address, and to all others what is for all.
#[derive(Debug, Clone)]
pub struct Topology {
    pub(crate) nodes: usize,
    switches: usize,
    /// From where, to where.
    pub(crate) links: Vec<(usize, usize, LinkConfig)>,
}

/// Two switches with nodes around each, and one link each way between them, which they share.
#[derive(Debug, Clone, Default)]
pub struct Dumbbell {
    /// From a node to its switch.
    pub up: LinkConfig,
    /// From a switch to a node of its.
    pub down: LinkConfig,
    /// From the left switch to the right one.
    pub right: LinkConfig,
    /// From the right switch to the left one.
    pub left: LinkConfig,
}

impl Topology {
    /// So many nodes, and nothing between them yet.
    #[must_use]
    pub const fn new(nodes: usize) -> Self {
        Self { nodes, switches: 0, links: Vec::new() }
    }

    /// Node 0 and node 1 on a cable.
    #[must_use]
    pub fn cable(there: LinkConfig, back: LinkConfig) -> Self {
        let mut topology = Self::new(2);
        topology.link(Place::Node(0), Place::Node(1), there);
        topology.link(Place::Node(1), Place::Node(0), back);
        topology
    }

    /// The first `left` of the nodes on the left, the others on the right. The links that are shared are the numbers 0 (to
    /// the right) and 1 (to the left).
    #[must_use]
    pub fn dumbbell(nodes: usize, left: usize, links: &Dumbbell) -> Self {
        let mut topology = Self::new(nodes);
        let sides = [topology.switch(), topology.switch()];
        topology.link(sides[0], sides[1], links.right.clone());
        topology.link(sides[1], sides[0], links.left.clone());
        for node in 0..nodes {
            let side = sides[usize::from(node >= left)];
            topology.link(Place::Node(node), side, links.up.clone());
            topology.link(side, Place::Node(node), links.down.clone());
        }
        topology
    }

    /// Adds a switch.
    pub const fn switch(&mut self) -> Place {
        self.switches += 1;
        Place::Switch(self.switches - 1)
    }

    /// Adds a link from one place to another.
    pub fn link(&mut self, from: Place, to: Place, config: LinkConfig) -> LinkId {
        self.links.push((self.vertex(from), self.vertex(to), config));
        LinkId(self.links.len() - 1)
    }

    const fn vertex(&self, place: Place) -> usize {
        match place {
            Place::Node(n) => n,
            Place::Switch(n) => self.nodes + n,
        }
    }

    /// For each vertex and each node the link that leads there.
    pub(crate) fn routes(&self) -> Routes {
        let vertices = self.nodes + self.switches;
        let mut next = vec![None; vertices * self.nodes];
        for node in 0..self.nodes {
            let mut seen = vec![false; vertices];
            seen[node] = true;
            let mut queue = VecDeque::from([node]);
            while let Some(at) = queue.pop_front() {
                for (n, (from, to, _)) in self.links.iter().enumerate() {
                    // A node forwards nothing.
                    if *to == at && !seen[*from] && (at >= self.nodes || at == node) {
                        seen[*from] = true;
                        next[from * self.nodes + node] = Some(n);
                        queue.push_back(*from);
                    }
                }
            }
        }
        let away = (0..vertices).map(|v| (0..self.links.len()).filter(|l| self.links[*l].0 == v).collect()).collect();
        Routes { nodes: self.nodes, next, away }
    }
}

/// Which way frames go.
#[derive(Debug)]
pub(crate) struct Routes {
    nodes: usize,
    next: Vec<Option<usize>>,
    /// The links that lead away from a vertex.
    pub(crate) away: Vec<Vec<usize>>,
}

impl Routes {
    pub(crate) fn next(&self, vertex: usize, node: usize) -> Option<usize> {
        self.next[vertex * self.nodes + node]
    }
}
