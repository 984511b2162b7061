"""The papers behind the methods, by a short key."""

from __future__ import annotations

from typing import Final

REFERENCES: Final = {
    "Aitchison 1982": "Aitchison J. The statistical analysis of compositional data. "
    "J R Stat Soc B 1982;44:139–177. doi:10.1111/j.2517-6161.1982.tb01195.x",
    "Azad et al. 2016": "Azad A, Rajwa B, Pothen A. flowVS: channel-specific variance stabilization in flow cytometry. "
    "BMC Bioinformatics 2016;17:291. doi:10.1186/s12859-016-1083-9",
    "Bagwell and Adams 1993": "Bagwell CB, Adams EG. Fluorescence spectral overlap compensation for any number of flow "
    "cytometry parameters. Ann N Y Acad Sci 1993;677:167–184. doi:10.1111/j.1749-6632.1993.tb38775.x",
    "Benjamini and Hochberg 1995": "Benjamini Y, Hochberg Y. Controlling the false discovery rate. "
    "J R Stat Soc B 1995;57:289–300. doi:10.1111/j.2517-6161.1995.tb02031.x",
    "Chao and Jost 2012": "Chao A, Jost L. Coverage-based rarefaction and extrapolation. "
    "Ecology 2012;93:2533–2547. doi:10.1890/11-1952.1",
    "Chao et al. 2014": "Chao A, et al. Rarefaction and extrapolation with Hill numbers. "
    "Ecol Monogr 2014;84:45–67. doi:10.1890/13-0133.1",
    "Emmaneel et al. 2022": "Emmaneel A, et al. PeacoQC: peak-based selection of high quality cytometry data. "
    "Cytometry A 2022;101A:325–338. doi:10.1002/cyto.a.24501",
    "Gayoso et al. 2022": "Gayoso A, et al. A Python library for probabilistic analysis of single-cell omics data. "
    "Nat Biotechnol 2022;40:163–166. doi:10.1038/s41587-021-01206-w",
    "Lopez et al. 2018": "Lopez R, et al. Deep generative modeling for single-cell transcriptomics. "
    "Nat Methods 2018;15:1053–1058. doi:10.1038/s41592-018-0229-2",
    "Mann and Whitney 1947": "Mann HB, Whitney DR. On a test of whether one of two random variables is stochastically "
    "larger than the other. Ann Math Stat 1947;18:50–60. doi:10.1214/aoms/1177730491",
    "McInnes et al. 2018": "McInnes L, Healy J, Melville J. UMAP: uniform manifold approximation and projection for "
    "dimension reduction. arXiv 2018:1802.03426",
    "Moore and Parks 2012": "Moore WA, Parks DR. Update for the logicle data scale including operational code "
    "implementations. Cytometry A 2012;81A:273–277. doi:10.1002/cyto.a.22030",
    "Newcombe 2006": "Newcombe RG. Confidence intervals for an effect size measure based on the Mann–Whitney "
    "statistic. Part 2. Stat Med 2006;25:559–573. doi:10.1002/sim.2324",
    "Novo et al. 2013": "Novo D, Grégori G, Rajwa B. Generalized unmixing model for multispectral flow cytometry "
    "utilizing nonsquare compensation matrices. Cytometry A 2013;83A:508–520. doi:10.1002/cyto.a.22272",
    "Parks et al. 2006": "Parks DR, Roederer M, Moore WA. A new “Logicle” display method avoids deceptive effects of "
    "logarithmic scaling for low signals and compensated data. Cytometry A 2006;69A:541–551. doi:10.1002/cyto.a.20258",
    "Roca et al. 2021": "Roca CP, et al. AutoSpill is a principled framework that simplifies the analysis of "
    "multichromatic flow cytometry data. Nat Commun 2021;12:2890. doi:10.1038/s41467-021-23126-8",
    "Smyth 2004": "Smyth GK. Linear models and empirical Bayes methods for assessing differential expression in "
    "microarray experiments. Stat Appl Genet Mol Biol 2004;3:3. doi:10.2202/1544-6115.1027",
    "Tirosh et al. 2016": "Tirosh I, et al. Dissecting the multicellular ecosystem of metastatic melanoma by "
    "single-cell RNA-seq. Science 2016;352:189–196. doi:10.1126/science.aad0501",
    "Traag et al. 2019": "Traag VA, Waltman L, van Eck NJ. From Louvain to Leiden: guaranteeing well-connected "
    "communities. Sci Rep 2019;9:5233. doi:10.1038/s41598-019-41695-z",
    "Van Gassen et al. 2015": "Van Gassen S, et al. FlowSOM: using self-organizing maps for visualization and "
    "interpretation of cytometry data. Cytometry A 2015;87A:636–645. doi:10.1002/cyto.a.22625",
    "van Elteren 1960": "van Elteren PH. On the combination of independent two-sample tests of Wilcoxon. "
    "Bull Inst Int Stat 1960;37:351–361",
    "White et al. 2021": "White S, et al. FlowKit: a Python toolkit for integrated manual and automated cytometry "
    "analysis workflows. Front Immunol 2021;12:768541. doi:10.3389/fimmu.2021.768541",
    "Wolf et al. 2018": "Wolf FA, Angerer P, Theis FJ. SCANPY: large-scale single-cell gene expression data analysis. "
    "Genome Biol 2018;19:15. doi:10.1186/s13059-017-1382-0",
    "Wolock et al. 2019": "Wolock SL, Lopez R, Klein AM. Scrublet: computational identification of cell doublets in "
    "single-cell transcriptomic data. Cell Syst 2019;8:281–291. doi:10.1016/j.cels.2018.11.005",
}
