"""What a CGN is: mechanisms, the composition of their layers, interventions on them, and pictures of them."""
